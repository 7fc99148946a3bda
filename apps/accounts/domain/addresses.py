"""Where a caller comes from, when proxies of ours stand in between."""


def client_address(remote: str, forwarded_for: str, *, trusted_proxies: int) -> str:
    """Return the address of whoever called the first of so many proxies of ours; empty if it cannot be known.

    `remote` is who is connected to us, `forwarded_for` the header X-Forwarded-For, to whose end each proxy writes who
    called it. What stands before our own proxies' entries is the caller's word and never read. With fewer entries than
    proxies somebody came past them, so nothing that is said of them holds.
    """
    if not trusted_proxies:
        return remote
    named = [each.strip() for each in forwarded_for.split(",") if each.strip()]
    return named[-trusted_proxies] if len(named) >= trusted_proxies else ""
