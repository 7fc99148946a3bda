from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("approvals", "0004_views_of_cards")]

    operations = [
        migrations.AddIndex(
            model_name="proposal",
            index=models.Index(
                condition=models.Q(("state__in", ["pending", "claimed"])),
                fields=["team"],
                include=(
                    "id",
                    "risk_class",
                    "created_at",
                    "deadline",
                    "sla_due",
                    "assigned_to",
                    "claimed_by",
                    "claim_until",
                    "approvals_given",
                    "kind",
                    "state",
                    "agent_version",
                    "action_type",
                ),
                name="open_in_order",
            ),
        ),
    ]
