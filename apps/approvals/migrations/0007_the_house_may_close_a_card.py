from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("approvals", "0006_channels_rest_and_say_why_they_are_off")]

    operations = [
        migrations.AlterField(
            model_name="decision",
            name="by_kind",
            field=models.CharField(
                choices=[
                    ("person", "Person"),
                    ("policy", "Policy"),
                    ("timer", "Timer"),
                    ("agent", "Agent"),
                    ("system", "System"),
                ],
                max_length=8,
            ),
        ),
    ]
