from django.db import models

from apps.accounts.models import ApiToken


class IdempotencyRecord(models.Model):
    """What a request with an Idempotency-Key was answered, kept for 24 h: the same body gets the same answer."""

    token = models.ForeignKey(ApiToken, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=120)
    body_hash = models.CharField(max_length=71)
    status = models.PositiveSmallIntegerField(null=True, db_comment="Null while the first request is being answered.")
    response = models.JSONField(null=True)
    expires_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["token", "key"], name="one_answer_per_idempotency_key")]
        indexes = [models.Index(fields=["expires_at"], name="idempotency_records_by_end")]

    def __str__(self) -> str:
        return f"{self.key} of token {self.token_id}"


class Wait(models.Model):
    """One of the few places in which a token may wait for an answer; taken for as long as its request waits."""

    token = models.ForeignKey(ApiToken, on_delete=models.CASCADE, related_name="+")
    place = models.PositiveSmallIntegerField()
    until = models.DateTimeField(db_comment="Past it the place is free, whatever became of the request that took it.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["token", "place"], name="one_wait_per_place_and_token")]

    def __str__(self) -> str:
        return f"place {self.place} of token {self.token_id}"
