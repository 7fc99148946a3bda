"""The demo's company: Tidewater Desktops, a provider of virtual desktops. People, teams, agents and how far each got."""

from dataclasses import dataclass, field
from typing import Final

COMPANY: Final = "Tidewater Desktops"
DOMAIN: Final = "tidewater.example"

SUPPORT: Final = "support"
DESKTOPS: Final = "desktops"
DESK_TEAM: Final = "service-management"

TEAMS: Final = (
    (SUPPORT, "Support", "Answers customers of the virtual desktops."),
    (DESKTOPS, "Desktop platform", "Runs hosts, images and capacity."),
    ("product", "Product", "Owns the workflow charters and the go decisions."),
    ("ml", "ML", "Owns evaluation and model changes."),
    ("platform", "Platform", "Owns integrations and durability."),
    ("security", "Security", "Owns access models and hostile tests."),
    ("ops", "Operations", "Owns on-call, objectives and runbooks."),
    ("legal", "Legal", "Owns legal screening and notices."),
    ("privacy", "Privacy", "Owns data inventories and assessments."),
    ("launch-board", "Launch board", "Grants waivers."),
    (DESK_TEAM, "Service management", "Owns the ticket desk."),
)


@dataclass(frozen=True, slots=True)
class Person:
    """One of the cast: `roles` are (team, role); `offered` puts them on the sign-in page."""

    name: str
    roles: tuple[tuple[str, str], ...]
    says: str = ""
    offered: bool = True

    @property
    def email(self) -> str:
        return f"{self.name.split()[0].lower()}@{DOMAIN}"


def _in_both(role: str) -> tuple[tuple[str, str], ...]:
    return ((SUPPORT, role), (DESKTOPS, role))


CAST: Final = (
    Person("Rhea Moran", _in_both("reviewer"), "Reviewer: decides what agents may do"),
    Person("Oskar Lind", (*_in_both("operator"), ("ops", "operator")), "Operator: stops, repairs, is on call"),
    Person("Tamsin Cole", (*_in_both("tpm"), ("product", "tpm")), "Program manager: brings agents past pilot"),
    Person("Edith Vance", _in_both("executive"), "Executive: scaled against pilot"),
    Person("Ansel Brandt", _in_both("agent_owner"), "Agent owner: answers for the agents"),
    Person("Aurora Sato", _in_both("auditor"), "Auditor: who decided what, provably"),
    Person("Ilja Novak", (*_in_both("admin"), (DESK_TEAM, "admin")), "Administrator: people, systems, keys"),
    Person("Ruben Okoye", _in_both("reviewer"), offered=False),
    Person("Olive Hart", (*_in_both("operator"), ("ops", "operator")), offered=False),
    Person("Selma Yilmaz", (("security", "operator"),), "Security: signs the threat model"),
    Person("Sven Ekdahl", (("security", "reviewer"),), offered=False),
    Person("Mila Duarte", (("ml", "agent_owner"),), offered=False),
    Person("Piet Jansen", (("platform", "operator"),), offered=False),
    Person("Lena Fischer", (("legal", "operator"),), offered=False),
    Person("Priya Nair", (("privacy", "operator"),), offered=False),
    Person("Paul Adeyemi", (("product", "operator"),), offered=False),
    Person("Bea Lorenz", (("launch-board", "operator"),), offered=False),
    Person("Dana Whitlock", ((DESK_TEAM, "operator"),), offered=False),
)


@dataclass(frozen=True, slots=True)
class Past:
    """How an agent's generated month went: shares of one, and cases a working day."""

    cases_a_day: int
    approved: float
    edited: float
    handed_over: float
    worsens: float = 0.0
    """How much the share of approvals falls from the first day to the last."""


@dataclass(frozen=True, slots=True)
class DemoAgent:
    slug: str
    name: str
    purpose: str
    team: str
    stages: tuple[tuple[str, int], ...]
    """(stage, days ago it was entered), oldest first."""
    level: str
    past: Past
    gates_done: tuple[str, ...] = field(default=())
    """Keys of further gates that are satisfied beside all of the transitions already made."""
    gates_submitted: tuple[str, ...] = field(default=())
    program: str = ""


AGENTS: Final = (
    DemoAgent(
        "ticket-desk",
        "Ticket desk",
        "Routes tier-1 support tickets and drafts the first reply.",
        SUPPORT,
        (("demo", 82), ("pilot", 41)),
        "approve",
        Past(34, 0.955, 0.03, 0.14),
        gates_done=("OPS-02", "OPS-04", "LGL-02", "PRD-06", "ML-06", "PRV-02"),
        # SEC-02 is for Selma to sign; SEC-03 has all its evidence and waits on it.
        gates_submitted=("SEC-02", "SEC-03", "LGL-03"),
        program="Ticket desk to production",
    ),
    DemoAgent(
        "access-desk",
        "Access desk",
        "Unlocks accounts and resets second factors after the caller is verified.",
        SUPPORT,
        (("demo", 230), ("pilot", 171), ("production", 58)),
        "sampled",
        Past(30, 0.965, 0.02, 0.08),
        gates_done=("ML-07", "PLT-06"),
        gates_submitted=("LGL-05",),
        program="Access desk to scale",
    ),
    DemoAgent(
        "licence-clerk",
        "Licence clerk",
        "Assigns and reclaims desktop licences within the contract.",
        SUPPORT,
        (("demo", 402), ("pilot", 330), ("production", 214), ("scaled", 37)),
        "auto",
        Past(26, 0.985, 0.008, 0.05),
    ),
    DemoAgent(
        "session-triage",
        "Session triage",
        "Finds stuck sessions and proposes to restart them.",
        DESKTOPS,
        (("demo", 150), ("pilot", 104), ("production", 31)),
        "approve",
        Past(22, 0.95, 0.015, 0.12, worsens=0.05),
        gates_done=("PLT-06",),
        program="Session triage to scale",
    ),
    DemoAgent(
        "refund-desk",
        "Refund desk",
        "Prepares service credits after outages.",
        SUPPORT,
        (("demo", 141), ("pilot", 96)),
        "approve",
        Past(12, 0.83, 0.08, 0.22, worsens=0.06),
        gates_done=("OPS-02", "SEC-02"),
        gates_submitted=("LGL-02",),
        program="Refund desk to production",
    ),
    DemoAgent(
        "image-steward",
        "Image steward",
        "Publishes patched desktop images to test pools.",
        DESKTOPS,
        (("demo", 19),),
        "recommend",
        # A demo has no real cases, so it has no past either.
        Past(0, 0.0, 0.0, 0.0),
        gates_done=("PRD-01", "PRD-02", "PRD-03", "LGL-01"),
        gates_submitted=("ML-01", "API-01:desk"),
        program="Image steward to pilot",
    ),
    DemoAgent(
        "capacity-planner",
        "Capacity planner",
        "Sized desktop pools for the next week.",
        DESKTOPS,
        (("demo", 320), ("pilot", 260), ("retired", 140)),
        "shadow",
        Past(0, 0.0, 0.0, 0.0),
    ),
)

LIVE_AGENT: Final = "ticket-desk"
"""The one agent that works while you watch; the others only have a past."""
