from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('runs', '0006_advice_is_a_reason'),
    ]

    operations = [
        migrations.AlterField(
            model_name='step',
            name='kind',
            field=models.CharField(choices=[('model', 'Model turn'), ('read', 'Read'), ('propose', 'Proposed'), ('answer', 'Heard'), ('write', 'Wrote'), ('hand_over', 'Handed over'), ('error', 'Error')], max_length=10),
        ),
    ]
