from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0002_stamp_xid"),
    ]

    operations = [
        migrations.AddField(
            model_name="workitem",
            name="may_open",
            field=models.BooleanField(
                db_comment="If its system does not know the case, its run opens it there in the importer's name.",
                db_default=False,
                default=False,
            ),
        ),
    ]
