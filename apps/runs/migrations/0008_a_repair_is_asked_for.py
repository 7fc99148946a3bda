import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('runs', '0007_a_run_hears_answers'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name='run',
            name='repair_asked_at',
            field=models.DateTimeField(db_comment="When somebody asked on the page to plan the thread's last turn anew; null once that is done.", null=True),
        ),
        migrations.AddField(
            model_name='run',
            name='repair_asked_by',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddIndex(
            model_name='run',
            index=models.Index(condition=models.Q(('repair_asked_at__isnull', False)), fields=['repair_asked_at'], name='repairs_asked_for'),
        ),
    ]
