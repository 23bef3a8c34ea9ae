"""All events that there can be."""

from hypothesis import strategies as st

from contracts.events import Event, OrderCreated, OrderLine, OrderProcessed

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=255)
amounts = st.decimals(min_value=-9_999_999_999, max_value=9_999_999_999, places=2)
lines = st.builds(
    OrderLine, product_id=texts, quantity=st.integers(min_value=-(2**31), max_value=2**31 - 1), price=amounts
)
orders_created = st.builds(
    OrderCreated,
    order_id=st.uuids(),
    customer_id=texts,
    items=st.lists(lines, max_size=5),
    total_amount=amounts,
    created_at=st.datetimes(timezones=st.timezones()).filter(lambda value: 2 < value.year < 9998),
)
orders_processed = st.builds(
    OrderProcessed,
    order_id=st.uuids(),
    status=st.sampled_from(["completed", "failed"]),
    error_message=st.none() | texts,
)
events: st.SearchStrategy[Event] = orders_created | orders_processed
