from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0003_work_may_open_its_case"),
    ]

    operations = [
        migrations.AlterField(
            model_name="run",
            name="reason",
            field=models.CharField(
                blank=True,
                choices=[
                    ("not_sure", "Not sure"),
                    ("out_of_scope", "Outside its scope"),
                    ("not_found", "The case was not found"),
                    ("refused", "A person or a policy refused"),
                    ("answered", "A person answered instead of deciding"),
                    ("expired", "Nobody answered in time"),
                    ("too_late", "Approved, but not run in its time"),
                    ("stale", "The case changed meanwhile"),
                    ("technical", "A technical failure"),
                ],
                max_length=14,
            ),
        ),
    ]
