import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """An agent in another process may write to a system that is not connected here; its ledger row names the team instead."""

    dependencies = [("accounts", "0002_api_tokens"), ("connectors", "0002_stamp_xid")]

    operations = [
        migrations.AlterField(
            model_name="actionexecution",
            name="connector",
            field=models.ForeignKey(
                db_comment="Null where an agent in another process writes to a system that is not connected here.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="connectors.connector",
            ),
        ),
        migrations.AddField(
            model_name="actionexecution",
            name="team",
            field=models.ForeignKey(
                db_comment="Whose write it is without a connector.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="accounts.team",
            ),
        ),
        migrations.AddConstraint(
            model_name="actionexecution",
            constraint=models.CheckConstraint(
                condition=models.Q(("connector__isnull", False), ("team__isnull", False), _connector="OR"),
                name="an_execution_belongs_to_a_team",
            ),
        ),
    ]
