package main

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"buzon/internal/smtp"
	"buzon/mx/dkim"
	"buzon/mx/dns"
)

// domainRecords are what one of our domains should publish, in the order of
// their weight. notes are what cannot be said as a record of its zone.
func domainRecords(cfg *config, store *dkim.Store, domain string) (records []record, notes []string, err error) {
	z := zone{cfg: cfg, domain: domain}
	z.receiving()
	if err := z.sending(store); err != nil {
		return nil, nil, err
	}
	z.policies()
	z.services()
	z.web()
	return z.records, z.notes, nil
}

// zone gathers the records of a domain, and of this host in it.
type zone struct {
	cfg     *config
	domain  string
	records []record
	notes   []string
}

func (z *zone) add(name, kind, value, why string) {
	z.records = append(z.records, record{name: name, kind: kind, value: value, why: why})
}

// optional adds a record that says something true only once needs is met.
func (z *zone) optional(needs, name, kind, value, why string) {
	z.records = append(z.records, record{name: name, kind: kind, value: value, why: why, needs: needs})
}

func (z *zone) note(text string) { z.notes = append(z.notes, text) }

// receiving says where the domain's mail goes.
func (z *zone) receiving() {
	host := z.cfg.Hostname
	z.add(z.domain, "MX", "10 "+host+".", "MX: the host that takes the domain's mail.")
	addrs := publicAddresses(z.cfg)
	for _, a := range addrs {
		kind := "A"
		if a.Is6() {
			kind = "AAAA"
		}
		z.add(host, kind, a.String(), kind+": where that host is.")
	}
	if len(addrs) == 0 {
		z.note(host + " needs A and AAAA records with its public addresses, which this machine does not know: write them into outbound.addresses")
	}
	z.note("PTR: the reverse name of each address must be " + host + "; the provider of the addresses sets it. Big hosts refuse mail where it is missing.")
}

// sending says who may send in the domain's name: SPF and the DKIM keys.
func (z *zone) sending(store *dkim.Store) error {
	z.add(z.domain, "TXT", spfPolicy(z.cfg), "SPF: who may send with the domain in the envelope, and that nobody else may.")
	if host := z.cfg.Hostname; host != z.domain {
		z.add(host, "TXT", "v=spf1 a -all", "SPF of the host's own name, which it says in EHLO and which notices are sent with.")
	}
	if z.cfg.unsigned(z.domain) {
		z.note("DKIM: the configuration says that mail of this domain is not signed (domain.*.unsigned)")
		return nil
	}
	keys, err := store.List(z.domain)
	if err != nil {
		return err
	}
	if len(keys) == 0 {
		z.note("DKIM: there are no keys yet: buzon domain add " + z.domain)
	}
	for _, k := range keys {
		if k.State == dkim.Old {
			continue
		}
		r, err := keyRecord(k)
		if err != nil {
			return err
		}
		z.records = append(z.records, r)
	}
	return nil
}

// policies say what others shall do with mail that is not proven, and where
// they report to.
func (z *zone) policies() {
	z.add("_dmarc."+z.domain, "TXT", "v=DMARC1; p=quarantine; rua=mailto:postmaster@"+z.domain,
		"DMARC: what others shall do with mail in the domain's name that neither SPF nor DKIM proves, and where they report to; begin with p=none to watch first, end with p=reject.")
	z.add("_smtp._tls."+z.domain, "TXT", "v=TLSRPTv1; rua=mailto:postmaster@"+z.domain,
		"TLS-RPT: where others report that they could not deliver over TLS.")
}

// services let mail programs find our ports (RFC 6186, RFC 8314 5.1).
func (z *zone) services() {
	listen := &z.cfg.Listen
	for _, s := range []struct {
		on      bool
		service string
		port    int
		what    string
	}{
		{len(listen.Submissions) > 0, "_submissions._tcp", 465, "where mail programs send"},
		{len(listen.Submission) > 0, "_submission._tcp", 587, "where mail programs send that know STARTTLS only"},
		{len(listen.IMAPS) > 0, "_imaps._tcp", 993, "where mail programs read"},
		{len(listen.IMAP) > 0, "_imap._tcp", 143, "where mail programs read that know STARTTLS only"},
		{len(listen.ManageSieve) > 0, "_sieve._tcp", 4190, "where mail programs manage filters"},
	} {
		if s.on {
			z.add(s.service+"."+z.domain, "SRV", fmt.Sprintf("0 1 %d %s.", s.port, z.cfg.Hostname), "SRV: "+s.what+", so that they need not be told.")
		}
	}
}

// web names what is served over HTTPS, and the certificate that all of it and
// port 25 stand on.
func (z *zone) web() {
	host := z.cfg.Hostname
	web, policy := "", ""
	switch {
	case len(z.cfg.Listen.HTTPS) == 0:
		web, policy = "only once listen.https is on", "only once listen.https is on, and web.mta_sts says testing or enforce"
	case z.cfg.stsPolicy() == "":
		policy = "only once web.mta_sts says testing or enforce"
	}
	z.optional(policy, "_mta-sts."+z.domain, "TXT", "v=STSv1; id="+z.cfg.stsID(), "MTA-STS: that there is a policy, and which; it changes with web.mta_sts, and others then send over verified TLS only.")
	z.optional(policy, "mta-sts."+z.domain, "CNAME", host+".", "MTA-STS: where the policy is, https://mta-sts."+z.domain+"/.well-known/mta-sts.txt.")
	z.optional(web, "autoconfig."+z.domain, "CNAME", host+".", "autoconfig: where Thunderbird and others find the settings of this host.")
	certificate, err := leafCertificate(z.cfg)
	if err != nil {
		z.note("TLSA and CAA: the certificate cannot be read: " + err.Error())
		return
	}
	for _, at := range []struct{ needs, name string }{{policy, "mta-sts." + z.domain}, {web, "autoconfig." + z.domain}} {
		if at.needs == "" && certificate.VerifyHostname(at.name) != nil {
			z.note("the certificate must name " + at.name + ", too: others do not trust what they find there with another one")
		}
	}
	z.certificate(certificate)
}

// certificate binds the host's certificate to its name.
func (z *zone) certificate(c *x509.Certificate) {
	host := z.cfg.Hostname
	spki := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	z.optional("only in a zone signed with DNSSEC; change it together with the certificate's key", "_25._tcp."+host, "TLSA", "3 1 1 "+hex.EncodeToString(spki[:]),
		"DANE: the key of the certificate on port 25; others then send to exactly this key.")
	if issuer := issuerDomain(c); issuer != "" {
		z.add(host, "CAA", `0 issue "`+issuer+`"`, "CAA: nobody else may issue certificates for the host.")
	} else {
		z.note("CAA: name who issues the certificate, when it is not self-signed: " + host + ". CAA 0 issue \"letsencrypt.org\"")
	}
}

// spfPolicy allows the hosts of the MX records, and asks for help where others
// send for us.
func spfPolicy(cfg *config) string {
	policy := "v=spf1 mx"
	if s, ok := cfg.Smarthost["*"]; ok && s.Host != "" && net.ParseIP(s.Host) == nil {
		policy += " a:" + s.Host
	}
	return policy + " -all"
}

// publicAddresses are those that the configuration names, or that this machine
// has, and the world can reach.
func publicAddresses(cfg *config) []netip.Addr {
	var out []netip.Addr
	keep := func(a netip.Addr) {
		if a = a.Unmap().WithZone(""); a.IsGlobalUnicast() && !a.IsPrivate() && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	for _, s := range cfg.Outbound.Addresses {
		if a, err := netip.ParseAddr(s); err == nil {
			keep(a)
		}
	}
	if len(out) > 0 {
		return out
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			keep(p.Addr())
		}
	}
	return out
}

// leafCertificate reads the certificate that port 25 shows.
func leafCertificate(cfg *config) (*x509.Certificate, error) {
	file := cfg.TLS.Cert
	if file == "" {
		file = cfg.path("tls", "self-signed.pem")
	}
	text, err := readLimited(file, 1<<20)
	if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			return x509.ParseCertificate(block.Bytes)
		}
	}
	return nil, errors.New(file + " holds no certificate")
}

// issuerDomain is the name that CAA records have for who issued a certificate;
// "" when we do not know.
func issuerDomain(c *x509.Certificate) string {
	organization := strings.ToLower(strings.Join(c.Issuer.Organization, " "))
	for _, known := range []struct{ part, domain string }{
		{"let's encrypt", "letsencrypt.org"}, {"google trust", "pki.goog"}, {"zerossl", "sectigo.com"}, {"sectigo", "sectigo.com"},
		{"digicert", "digicert.com"}, {"buypass", "buypass.com"}, {"actalis", "actalis.it"}, {"globalsign", "globalsign.com"},
	} {
		if strings.Contains(organization, known.part) {
			return known.domain
		}
	}
	return ""
}

// ourDomain returns the configured form of a domain.
func (c *config) ourDomain(name string) (string, error) {
	for _, d := range c.Domains {
		if sameDomain(d, name) {
			return smtp.ParseDomain(d)
		}
	}
	if _, err := dns.Name(name); err != nil {
		return "", fmt.Errorf("%q is not a domain name", name)
	}
	return "", fmt.Errorf("%s is not among domains in the configuration: %s", name, strings.Join(c.Domains, " "))
}
