"""The catalogue of launch gates as versions that never change."""

import hashlib
from pathlib import Path

import yaml
from django.db import transaction

from apps.audit import actions as audit
from apps.programs.actions import locks
from apps.programs.domain.catalogue import read_catalogue
from apps.programs.models import Catalogue

SHIPPED = Path(__file__).parent.parent / "catalogue" / "gates.yaml"


@transaction.atomic
def load_catalogue(path: Path = SHIPPED, *, actor: str) -> Catalogue:
    """Check a catalogue file and keep it as an immutable version; the same bytes again are the same version.

    Raises CatalogueError with every fault of the file.
    """
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    locks.wait_for(locks.CATALOGUES)
    known = Catalogue.objects.filter(sha256=digest).first()
    if known:
        return known
    body = yaml.safe_load(content)
    body["date"] = str(body.get("date", ""))
    read_catalogue(body)
    newest = Catalogue.objects.order_by("-version").values_list("version", flat=True).first() or 0
    row = Catalogue.objects.create(version=newest + 1, body=body, sha256=digest)
    audit.record(
        "catalogue.loaded",
        subject=f"catalogue:{row.version}",
        actor=actor,
        payload={"sha256": digest, "gates": len(body["gates"])},
    )
    return row
