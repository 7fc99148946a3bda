from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0004_reasons_tell_answers_apart"),
    ]

    operations = [
        migrations.AlterField(
            model_name="run",
            name="reason_text",
            field=models.CharField(
                blank=True,
                db_comment="The agent's words, or those of the person who ended the run.",
                max_length=2000,
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state__in", ["failed", "cancelled"]), _negated=True),
                    models.Q(("reason_text", ""), _negated=True),
                    _connector="OR",
                ),
                name="who_ends_a_run_says_why",
            ),
        ),
    ]
