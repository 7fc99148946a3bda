import pgtrigger.compiler
import pgtrigger.migrations
from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('agents', '0002_switch_of_everything'),
    ]

    operations = [
        pgtrigger.migrations.AddTrigger(
            model_name='levelchange',
            trigger=pgtrigger.compiler.Trigger(name='what_was_never_changes', sql=pgtrigger.compiler.UpsertTriggerSql(func="RAISE EXCEPTION 'pgtrigger: Cannot update or delete rows from % table', TG_TABLE_NAME;", hash='eaf3777f4ba69751aacd90e065bf554d6eabcac4', operation='UPDATE OR DELETE', pgid='pgtrigger_what_was_never_changes_3e57c', table='agents_levelchange', when='BEFORE')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='stageevent',
            trigger=pgtrigger.compiler.Trigger(name='what_was_never_changes', sql=pgtrigger.compiler.UpsertTriggerSql(func="RAISE EXCEPTION 'pgtrigger: Cannot update or delete rows from % table', TG_TABLE_NAME;", hash='1760cf79acfef7f6beee422a94bfb8fd722f7083', operation='UPDATE OR DELETE', pgid='pgtrigger_what_was_never_changes_0e923', table='agents_stageevent', when='BEFORE')),
        ),
    ]
