from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVector, SearchVectorField
from django.db import migrations, models

PARTED = [
    models.Func(
        models.F(name),
        models.Value(":/-"),
        models.Value("   "),
        function="translate",
        output_field=models.TextField(),
    )
    for name in ("title", "target", "subject")
]


class Migration(migrations.Migration):
    """A generated column keeps its expression for good: it is made anew, with its index."""

    dependencies = [("approvals", "0007_the_house_may_close_a_card")]

    operations = [
        migrations.RemoveIndex(model_name="proposal", name="proposals_by_word"),
        migrations.RemoveField(model_name="proposal", name="search"),
        migrations.AddField(
            model_name="proposal",
            name="search",
            field=models.GeneratedField(
                db_persist=True,
                expression=SearchVector(*PARTED, config="simple"),
                output_field=SearchVectorField(),
            ),
        ),
        migrations.AddIndex(
            model_name="proposal", index=GinIndex(fields=["search"], name="proposals_by_word")
        ),
    ]
