from django.db import migrations


def add(apps, schema_editor):
    apps.get_model("agents", "KillSwitch").objects.get_or_create(
        scope="all", scope_id=0, defaults={"name": "Everything"}
    )


class Migration(migrations.Migration):
    dependencies = [("agents", "0001_initial")]

    operations = [migrations.RunPython(add, migrations.RunPython.noop)]
