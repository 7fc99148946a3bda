from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0002_api_tokens")]

    operations = [
        migrations.AddField(
            model_name="user",
            name="wants_mail",
            field=models.BooleanField(
                db_comment="Whether messages about cards go to this address.", db_default=True, default=True
            ),
        ),
    ]
