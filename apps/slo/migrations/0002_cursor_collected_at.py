from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('slo', '0001_initial'),
    ]

    operations = [
        migrations.AddField(
            model_name='cursor',
            name='collected_at',
            field=models.DateTimeField(db_comment='Database clock when the collector last got further; null before the first time.', null=True),
        ),
    ]
