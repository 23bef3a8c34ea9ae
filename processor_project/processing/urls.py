from django.urls import path

from processing import views

urlpatterns = [
    path("records", views.RecordListView.as_view(), name="records"),
    path("records/<str:order_id>", views.RecordView.as_view(), name="record"),
]
