"""Who removes a failure group finds the replayed messages that name it, without reading all of them."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("messaging", "0003_failures_replays_actions"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="replayedmessage",
            index=models.Index(fields=["group"], name="replayed_message_group"),
        ),
    ]
