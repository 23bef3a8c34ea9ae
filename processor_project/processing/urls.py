from django.urls import path

from processing import views
from timeline.views import RecordTimelineView

urlpatterns = [
    path("records", views.RecordListView.as_view(), name="records"),
    path("records/<str:order_id>", views.RecordView.as_view(), name="record"),
    path("records/<str:order_id>/timeline", RecordTimelineView.as_view(), name="record-timeline"),
]
