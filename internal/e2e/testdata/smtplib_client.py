"""Submits with Python's smtplib: both ports, 8-bit and UTF-8, refusals."""
import smtplib
import ssl
import sys
from email.message import EmailMessage
from email.policy import SMTP

ca, password, smtp, submission, submissions = sys.argv[1:6]
tls = ssl.create_default_context(cafile=ca)


def at(address):
    host, port = address.rsplit(":", 1)
    return host, int(port)


def text(subject, sender="ana@a.test", to="luis@a.test"):
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, to, subject
    message.set_content("¿Qué tal?\n", cte="8bit")
    return message


with smtplib.SMTP(*at(submission), timeout=30) as client:
    client.ehlo()
    assert client.has_extn("starttls") and not client.has_extn("auth"), client.esmtp_features
    client.starttls(context=tls)
    client.login("ana@a.test", password)
    message = text("python 587")
    message["Bcc"] = "ana@a.test"
    assert client.send_message(message) == {}
    assert client.sendmail("ana@a.test", ["luis@a.test"], text("python 8bit").as_bytes(policy=SMTP), ["BODY=8BITMIME"]) == {}

with smtplib.SMTP_SSL(*at(submissions), context=tls, timeout=30) as client:
    client.login("ana@a.test", password)
    assert client.send_message(text("python 465")) == {}
    assert client.send_message(text("con eñe", to="niño@a.test")) == {}
    try:
        client.sendmail("ana@a.test", ["nadie@a.test"], text("nobody").as_bytes(policy=SMTP))
        raise SystemExit("an unknown local user was accepted")
    except smtplib.SMTPRecipientsRefused as refused:
        assert refused.recipients["nadie@a.test"][0] == 550, refused

with smtplib.SMTP(*at(smtp), timeout=30) as client:
    assert client.sendmail("eva@far.test", ["luis@a.test", "ana@a.test"], text("python 25").as_bytes(policy=SMTP)) == {}
    try:
        client.sendmail("eva@far.test", ["bob@other.test"], text("relay").as_bytes(policy=SMTP))
        raise SystemExit("an open relay")
    except smtplib.SMTPRecipientsRefused as refused:
        assert refused.recipients["bob@other.test"][0] == 550, refused
