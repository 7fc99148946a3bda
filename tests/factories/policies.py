"""Rules of policies for tests, one at a time and as strategies of hypothesis."""

from decimal import Decimal

from hypothesis import strategies as st

from apps.approvals.domain.rules import OPS, WITHOUT_VALUE, Facts

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def rule(field, op, value=None, then="two", why=""):
    clause = {"field": field, "op": op} if op in WITHOUT_VALUE else {"field": field, "op": op, "value": value}
    return {"when": [clause], "then": then, **({"why": why} if why else {})}


FIELDS = st.sampled_from(["args.a", "args.b", "args.b.c", "target", "risk", "confidence"])
SCALARS = st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.5, "x", "y", "low"])


@st.composite
def clauses(draw):
    op = draw(st.sampled_from([each for each in OPS if each != "changed"]))
    stored = {"field": draw(FIELDS), "op": op}
    if op in {"in", "not in"}:
        stored["value"] = draw(st.lists(SCALARS, min_size=1, max_size=3))
    elif op in {"<", "<=", ">", ">="}:
        stored["value"] = draw(st.integers(-3, 3) | st.sampled_from([0.5, 1.5]))
    elif op not in WITHOUT_VALUE:
        stored["value"] = draw(SCALARS)
    return stored


RULES = st.builds(
    lambda when, then: {"when": when, "then": then},
    st.lists(clauses(), min_size=1, max_size=2),
    st.sampled_from(["deny", "two", "ask", "alone"]),
)
CONDITIONS = st.fixed_dictionaries(
    {"rules": st.lists(RULES, max_size=4)},
    optional={
        "auto_from_confidence": st.sampled_from([0, 0.5, 1]),
        "deny": st.dictionaries(st.sampled_from(["a", "b"]), st.lists(SCALARS, max_size=2), max_size=2),
    },
)
FACTS = st.builds(
    Facts,
    args=st.fixed_dictionaries(
        {}, optional={"a": SCALARS | JSON, "b": SCALARS | st.fixed_dictionaries({"c": SCALARS})}
    ),
    target=st.sampled_from(["", "x"]),
    risk=st.sampled_from(["low", "high"]),
    reversibility=st.sampled_from(["reversible", "irreversible"]),
    confidence=st.none() | st.sampled_from([0.4, 0.5, 0.9, Decimal("0.500")]),
)
