from django.urls import path

from orders import views
from timeline.views import OrderTimelineView

urlpatterns = [
    path("orders", views.OrderListView.as_view(), name="orders"),
    # Before the single order, whose path would match too; no id is this word.
    path("orders/batch", views.OrderBatchView.as_view(), name="order-batch"),
    path("orders/<str:order_id>", views.OrderView.as_view(), name="order"),
    path("orders/<str:order_id>/events", views.OrderEventsView.as_view(), name="order-events"),
    path("orders/<str:order_id>/timeline", OrderTimelineView.as_view(), name="order-timeline"),
]
