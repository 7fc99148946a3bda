from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0005_who_ends_a_run_says_why"),
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
                    ("advised", "It only advises, a person acts"),
                ],
                max_length=14,
            ),
        ),
    ]
