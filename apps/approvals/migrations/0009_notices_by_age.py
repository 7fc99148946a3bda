from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("approvals", "0008_words_of_targets")]

    operations = [
        migrations.AddIndex(model_name="notice", index=models.Index(fields=["created_at"], name="notices_by_age")),
    ]
