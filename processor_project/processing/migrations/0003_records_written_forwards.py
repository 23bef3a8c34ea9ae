from django.db import migrations, models


class Migration(migrations.Migration):
    """The newest records at the end of each index instead of in front, where every page is left half empty.

    Rebuilds three indexes: two to three seconds for a million records, in which consumers wait, with their messages in
    hand.
    """

    dependencies = [
        ("processing", "0002_order_copy"),
    ]

    operations = [
        migrations.RemoveIndex(model_name="processingrecord", name="record_recent"),
        migrations.RemoveIndex(model_name="processingrecord", name="record_outcome"),
        migrations.RemoveIndex(model_name="processingrecord", name="record_customer"),
        migrations.AddIndex(
            model_name="processingrecord",
            index=models.Index(fields=["finished_at", "order_id"], name="record_recent"),
        ),
        migrations.AddIndex(
            model_name="processingrecord",
            index=models.Index(fields=["outcome", "finished_at", "order_id"], name="record_outcome"),
        ),
        migrations.AddIndex(
            model_name="processingrecord",
            index=models.Index(fields=["customer_id", "finished_at", "order_id"], name="record_customer"),
        ),
    ]
