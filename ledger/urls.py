from django.urls import path

from ledger import views

urlpatterns = [path("ledger", views.LedgerView.as_view(), name="ledger")]
