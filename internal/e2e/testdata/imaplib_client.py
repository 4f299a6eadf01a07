"""Goes through a mailbox's life with Python's imaplib."""
import imaplib
import ssl
import sys

ca, password = sys.argv[1:3]
imap, imaps = sys.argv[6:8]
tls = ssl.create_default_context(cafile=ca)


def at(address):
    host, port = address.rsplit(":", 1)
    return host, int(port)


def ok(answer):
    assert answer[0] == "OK", answer
    return answer[1]


# Before TLS no password is taken.
plain = imaplib.IMAP4(*at(imap), timeout=30)
assert "LOGINDISABLED" in plain.capabilities, plain.capabilities
try:
    plain.login("ana@a.test", password)
    raise SystemExit("LOGIN without TLS")
except imaplib.IMAP4.error:
    pass
ok(plain.starttls(tls))
ok(plain.login("ana@a.test", password))
plain.logout()

c = imaplib.IMAP4_SSL(*at(imaps), ssl_context=tls, timeout=30)
try:
    c.login("ana@a.test", password + "x")
    raise SystemExit("a wrong password was taken")
except imaplib.IMAP4.error:
    pass
ok(c.authenticate("PLAIN", lambda _: f"\0ana@a.test\0{password}".encode()))

for name in ("Proyectos", "Proyectos/2026", '"con espacio"', "&ANE-"):
    ok(c.create(name))
    ok(c.subscribe(name))
names = b"\n".join(ok(c.list()))
assert b"Proyectos/2026" in names and b"con espacio" in names and b"&ANE-" in names, names
ok(c.rename("Proyectos", '"Proyectos viejos"'))
names = b"\n".join(ok(c.list()))
assert b"Proyectos viejos/2026" in names and b'"Proyectos/2026"' not in names, names

date = imaplib.Time2Internaldate(1_000_000_000)
for n in range(1, 6):
    text = f"From: <ana@a.test>\r\nSubject: number {n}\r\nMessage-ID: <{n}@a.test>\r\n\r\nbody {n}\r\n".encode()
    ok(c.append('"con espacio"', r"(\Seen)" if n % 2 else None, date, text))
assert ok(c.select('"con espacio"')) == [b"5"]
assert ok(c.search(None, "SEEN")) == [b"1 3 5"]
assert ok(c.search(None, "HEADER", "Message-ID", "<2@a.test>")) == [b"2"]
assert ok(c.search(None, "BODY", '"body 4"')) == [b"4"]
assert ok(c.uid("SEARCH", None, "1:*", "UNSEEN")) == [b"2 4"]
fetched = ok(c.fetch("2:3", "(UID FLAGS INTERNALDATE BODY.PEEK[HEADER.FIELDS (SUBJECT)])"))
assert b"number 2" in fetched[0][1] and b"number 3" in fetched[2][1], fetched
assert b"-Sep-2001 " in fetched[0][0], fetched
ok(c.store("1:2", "+FLAGS", r"(\Deleted $Label1)"))
assert ok(c.uid("MOVE", "5", "Trash")) is not None
assert ok(c.uid("COPY", "3", "Archive")) is not None
ok(c.expunge())
assert ok(c.noop()) is not None
assert ok(c.uid("SEARCH", None, "ALL")) == [b"3 4"]
ok(c.close())
assert b"MESSAGES 1" in ok(c.status("Trash", "(MESSAGES UIDNEXT UIDVALIDITY UNSEEN)"))[0]
assert b"MESSAGES 1" in ok(c.status("Archive", "(MESSAGES)"))[0]
ok(c.delete('"con espacio"'))
assert c.select('"con espacio"')[0] == "NO"
c.logout()
