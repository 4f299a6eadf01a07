package web

import (
	"encoding/xml"
	"fmt"
	"net"
	"net/http"
	"strings"

	"buzon/internal/smtp"
)

// Pages is what can be read on port 443.
type Pages struct {
	Hostname string
	// IsDomain reports whether a name is one of our domains.
	IsDomain func(name string) bool
	// Policy is the text of our MTA-STS policy (RFC 8461 3.2); "" for none.
	Policy string
	// IMAPS and Submissions are the ports with TLS from the start (RFC 8314);
	// programs are told of nothing else. 0 for none.
	IMAPS, Submissions int
}

// handler routes by host and path. What is not here is not found, whoever asks.
func (p Pages) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/mta-sts.txt", p.policy)
	mux.HandleFunc("GET /mail/config-v1.1.xml", p.autoconfig)
	mux.HandleFunc("GET /.well-known/autoconfig/mail/config-v1.1.xml", p.autoconfig)
	for _, path := range []string{"/autodiscover/autodiscover.xml", "/Autodiscover/Autodiscover.xml"} {
		mux.HandleFunc("POST "+path, p.autodiscover)
	}
	mux.HandleFunc("GET /apple.mobileconfig", p.mobileconfig)
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { write(w, "text/plain; charset=utf-8", []byte("ok\n")) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		mux.ServeHTTP(w, r)
	})
}

// domain is the domain of ours that a request is for: the host's name without
// one of the given labels before it.
func (p Pages) domain(r *http.Request, labels ...string) (string, bool) {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	for _, label := range labels {
		if name, ok := strings.CutPrefix(strings.ToLower(host), label); ok && p.IsDomain(name) {
			return name, true
		}
	}
	return "", false
}

// policy is the MTA-STS policy of the domain (RFC 8461 3.3).
func (p Pages) policy(w http.ResponseWriter, r *http.Request) {
	if _, ok := p.domain(r, "mta-sts."); !ok || p.Policy == "" {
		http.NotFound(w, r)
		return
	}
	write(w, "text/plain; charset=utf-8", []byte(p.Policy))
}

// autoconfig is what Thunderbird and K-9 look for, at autoconfig.<domain> or
// below <domain> (wiki.mozilla.org/Thunderbird:Autoconfiguration:ConfigFileFormat).
func (p Pages) autoconfig(w http.ResponseWriter, r *http.Request) {
	domain, ok := p.domain(r, "autoconfig.", "")
	if !ok {
		http.NotFound(w, r)
		return
	}
	type server struct {
		Type           string `xml:"type,attr"`
		Hostname       string `xml:"hostname"`
		Port           int    `xml:"port"`
		SocketType     string `xml:"socketType"`
		Username       string `xml:"username"`
		Authentication string `xml:"authentication"`
	}
	type provider struct {
		ID       string  `xml:"id,attr"`
		Domain   string  `xml:"domain"`
		Name     string  `xml:"displayName"`
		Incoming *server `xml:"incomingServer"`
		Outgoing *server `xml:"outgoingServer"`
	}
	at := func(kind string, port int) *server {
		if port == 0 {
			return nil
		}
		return &server{kind, p.Hostname, port, "SSL", "%EMAILADDRESS%", "password-cleartext"} // under TLS
	}
	answerXML(w, struct {
		XMLName  xml.Name `xml:"clientConfig"`
		Version  string   `xml:"version,attr"`
		Provider provider `xml:"emailProvider"`
	}{Version: "1.1", Provider: provider{domain, domain, domain, at("imap", p.IMAPS), at("smtp", p.Submissions)}})
}

// autodiscover is what Outlook asks (MS-OXDSCLI, the schema for other servers).
func (p Pages) autodiscover(w http.ResponseWriter, r *http.Request) {
	var question struct {
		Address string `xml:"Request>EMailAddress"`
	}
	if err := xml.NewDecoder(r.Body).Decode(&question); err != nil {
		http.Error(w, "this is not a request for autodiscovery", http.StatusBadRequest)
		return
	}
	address, ok := p.address(question.Address)
	if !ok {
		http.NotFound(w, r)
		return
	}
	type protocol struct {
		Type, Server string
		Port         int
		LoginName    string
		DomainReq    string `xml:"DomainRequired"`
		SPA, SSL     string
		AuthRequired string
	}
	type account struct {
		AccountType, Action string
		Protocol            []protocol
	}
	var list []protocol
	for _, at := range []struct {
		kind string
		port int
	}{{"IMAP", p.IMAPS}, {"SMTP", p.Submissions}} {
		if at.port != 0 {
			list = append(list, protocol{at.kind, p.Hostname, at.port, address.String(), "off", "off", "on", "on"})
		}
	}
	type response struct {
		Space   string `xml:"xmlns,attr"`
		Account account
	}
	answerXML(w, struct {
		XMLName  xml.Name `xml:"http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006 Autodiscover"`
		Response response
	}{Response: response{"http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a", account{"email", "settings", list}}})
}

// address reads an address in one of our domains. Whether there is such an
// account is nobody's business here.
func (p Pages) address(s string) (smtp.Address, bool) {
	a, err := smtp.ParseAddress(strings.TrimSpace(s))
	if err != nil || !p.IsDomain(a.Domain) {
		return smtp.Address{}, false
	}
	return a, true
}

// mobileconfig is a profile for Apple's Mail: /apple.mobileconfig?address=…
func (p Pages) mobileconfig(w http.ResponseWriter, r *http.Request) {
	a, ok := p.address(r.URL.Query().Get("address"))
	if !ok || p.IMAPS == 0 || p.Submissions == 0 {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Disposition", `attachment; filename="mail.mobileconfig"`)
	write(w, "application/x-apple-aspen-config; charset=utf-8", p.profile(a))
}

func answerXML(w http.ResponseWriter, v any) {
	text, err := xml.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	write(w, "application/xml; charset=utf-8", append([]byte(xml.Header), text...))
}

func write(w http.ResponseWriter, kind string, text []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", fmt.Sprint(len(text)))
	_, _ = w.Write(text) // a client that has gone does not matter
}
