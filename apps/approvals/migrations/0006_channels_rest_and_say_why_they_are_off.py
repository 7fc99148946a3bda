from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("approvals", "0005_open_in_order")]

    operations = [
        migrations.AddField(
            model_name="channel",
            name="allowed_cidrs",
            field=models.JSONField(
                db_comment="Internal networks an administrator granted; empty: public addresses only.", default=list
            ),
        ),
        migrations.AddField(
            model_name="channel",
            name="off_reason",
            field=models.CharField(
                blank=True, db_comment="Why it is switched off, if nobody switched it off.", max_length=300
            ),
        ),
        migrations.AddField(
            model_name="channel",
            name="rests_until",
            field=models.DateTimeField(
                db_comment="Nothing is sent before: a message is on its way, or the receiver failed a moment ago.",
                null=True,
            ),
        ),
        migrations.AlterField(
            model_name="channel",
            name="events",
            field=models.JSONField(
                db_comment="asked, escalated, decided, expired, stale, withdrawn, unknown; empty: all.", default=list
            ),
        ),
        migrations.AlterField(
            model_name="notice",
            name="state",
            field=models.CharField(
                choices=[("new", "Waiting"), ("sent", "Sent"), ("dead", "Given up"), ("moot", "No longer needed")],
                default="new",
                max_length=4,
            ),
        ),
        migrations.AddIndex(
            model_name="notice",
            index=models.Index(
                condition=models.Q(("state", "new")), fields=["channel", "id"], name="notices_due_by_channel"
            ),
        ),
        migrations.AddIndex(
            model_name="notice",
            index=models.Index(condition=models.Q(("state", "dead")), fields=["channel"], name="notices_given_up"),
        ),
        migrations.AddIndex(
            model_name="notice",
            index=models.Index(fields=["channel", "-id"], name="notices_by_channel"),
        ),
    ]
