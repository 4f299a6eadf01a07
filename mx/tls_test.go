package mx

import (
	"fmt"
	"strings"
	"testing"

	"buzon/internal/smtp"
)

const (
	startTLS = `
220 mx.x.test
> EHLO us.test
250-mx.x.test
250 STARTTLS
> STARTTLS
`
	afterTLS = `
> EHLO us.test
250 mx.x.test
> MAIL FROM:<me@us.test>
250 ok
> RCPT TO:<a@x.test>
250 ok
> DATA
354 go
*message
250 2.0.0 taken
` + done
)

func TestOpportunisticTLS(t *testing.T) {
	plain := strings.Replace(takes, "250 mx.x.test", "250-mx.x.test\n250 STARTTLS", 1)
	for _, tt := range []struct {
		name    string
		scripts []string
		trusted bool
		want    string
		tls     bool   // the message went under TLS
		log     string // in some line
	}{
		{"certificate that nobody knows", []string{startTLS + "220 go\n*tls" + afterTLS}, false, "250 2.0.0", true, "verified=false"},
		{"good certificate", []string{startTLS + "220 go\n*tls" + afterTLS}, true, "250 2.0.0", true, "verified=true"},
		{"not offered", []string{takes}, true, "250 2.0.0", false, `tls="" verified=false`},
		{"refused", []string{startTLS + "454 4.7.0 no" + strings.Replace(takes, greeted, "\n", 1)}, true, "250 2.0.0", false, "code=250"},
		{"handshake fails: plain text in a new connection", []string{startTLS + "220 go\n*read\n*raw \"this is no TLS\\r\\n\"\n", plain}, true, "250 2.0.0", false, "TLS could not be agreed on"},
		{"handshake fails: plain text fails too", []string{startTLS + "220 go\n", startTLS[:5] + "\n> EHLO us.test\n450 no\n" + done}, true, "450 4.0.0", false, "TLS could not be agreed on"},
		{"answer injected", []string{startTLS + "*raw \"220 go\\r\\n250 mx.x.test\\r\\n\"\n*hang"}, true, "451 4.7.0 local", false, "before TLS"},
		{"421", []string{startTLS + "421 4.3.2 closing\n"}, true, "421 4.3.2", false, "code=421"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := oneHost(t, tt.scripts...).withCertificate("mx.x.test", tt.trusted)
			c := w.client(nil)
			env := smtp.Envelope{From: smtp.Address{Local: "me", Domain: "us.test"}, To: []smtp.Recipient{{Address: smtp.Address{Local: "a", Domain: "x.test"}}}}
			r := c.Send(t.Context(), env, strings.NewReader(hello), int64(len(hello)))[0]
			c.Close()
			w.servers.Wait()
			want(t, []string{outcome(r)}, tt.want)
			if (r.TLS != "") != tt.tls || tt.tls && !strings.HasPrefix(r.TLS, "TLS 1.3 TLS_") {
				t.Errorf("TLS %q", r.TLS)
			}
			if r.Host != "mx.x.test" || r.Remote != "192.0.2.1:25" {
				t.Errorf("host %q at %q", r.Host, r.Remote)
			}
			if !strings.Contains(w.log.String(), tt.log) {
				t.Errorf("log has no %s:\n%s", tt.log, &w.log)
			}
		})
	}
}

// TestKeywordsBeforeTLSAreForgotten: what was said in plain text may be a lie.
func TestKeywordsBeforeTLSAreForgotten(t *testing.T) {
	script := strings.Replace(startTLS, "250 STARTTLS", "250-SIZE 1\n250 STARTTLS", 1) + "220 go\n*tls" + afterTLS
	w := oneHost(t, script).withCertificate("mx.x.test", true)
	want(t, w.send(nil, hello, "a@x.test"), "250 2.0.0")
}

func TestSmarthost(t *testing.T) {
	const (
		tlsHello = "220 go\n*tls\n> EHLO us.test\n250-relay.test\n"
		message  = "> MAIL FROM:<me@us.test>\n250 ok\n> RCPT TO:<a@x.test>\n250 ok\n> DATA\n354 go\n*message\n250 2.0.0 taken\n" + done
		plain    = "> AUTH PLAIN AG1lAHMzY3JldA==\n"
		login    = "> AUTH LOGIN\n334 VXNlcm5hbWU6\n> bWU=\n334 UGFzc3dvcmQ6\n> czNjcmV0\n"
	)
	withLogin := Smarthost{Host: "relay.test", Username: "me", Password: "s3cret"}
	implicit, anonymous, noTLS := withLogin, Smarthost{Host: "relay.test"}, Smarthost{Host: "relay.test", TLS: NoTLS}
	implicit.TLS = ImplicitTLS
	anyCertificate := withLogin
	anyCertificate.AnyCertificate = true
	for _, tt := range []struct {
		name      string
		smarthost Smarthost
		port      int
		script    string
		trusted   bool
		want      string
		level     string
	}{
		{"AUTH PLAIN", withLogin, 587, startTLS + tlsHello + "250 AUTH LOGIN plain\n" + plain + "235 2.7.0 ok\n" + message, true, "250 2.0.0", "INFO"},
		{"AUTH LOGIN", withLogin, 587, startTLS + tlsHello + "250 AUTH=LOGIN\n" + login + "235 2.7.0 ok\n" + message, true, "250 2.0.0", "INFO"},
		{"implicit TLS", implicit, 465, "*tls\n220 relay.test\n> EHLO us.test\n250-relay.test\n250 AUTH PLAIN\n" + plain + "235 2.7.0 ok\n" + message, true, "250 2.0.0", "INFO"},
		{"without login", anonymous, 587, startTLS + tlsHello + "250 SIZE\n" + strings.Replace(message, "us.test>", "us.test> SIZE=31", 1), true, "250 2.0.0", "INFO"},
		{"without TLS", noTLS, 25, takes, true, "250 2.0.0", "INFO"},
		{"any certificate", anyCertificate, 587, startTLS + tlsHello + "250 AUTH PLAIN\n" + plain + "235 2.7.0 ok\n" + message, false, "250 2.0.0", "INFO"},
		{"bad certificate", withLogin, 587, startTLS + "220 go\n*tls\n*hang", false, "451 4.7.5 local", "ERROR"},
		{"wrong password", withLogin, 587, startTLS + tlsHello + "250 AUTH PLAIN\n" + plain + "535 5.7.8 wrong\n" + done, true, "451 4.7.8 local", "ERROR"},
		{"wrong user", withLogin, 587, startTLS + tlsHello + "250 AUTH LOGIN\n> AUTH LOGIN\n334 x\n> bWU=\n535 5.7.8 wrong\n" + done, true, "451 4.7.8 local", "ERROR"},
		{"no AUTH that we know", withLogin, 587, startTLS + tlsHello + "250 AUTH GSSAPI\n" + done, true, "451 4.7.8 local", "ERROR"},
		{"STARTTLS stripped", withLogin, 587, greeted + done, true, "451 4.7.4 local", "ERROR"},
		{"STARTTLS refused", withLogin, 587, startTLS + "454 no\n" + done, true, "451 4.7.4 local", "ERROR"},
		{"it is ourselves", anonymous, 587, "220 us.test\n> EHLO us.test\n250 us.test\n" + done, true, "451 4.4.6 local", "ERROR"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t).withCertificate("relay.test", tt.trusted)
			w.addr["relay.test"] = "10.0.0.1" // the operator's choice: private is fine
			key := fmt.Sprint("10.0.0.1:", tt.port)
			if tt.port == 25 {
				key = "10.0.0.1"
			}
			w.host[key] = []string{tt.script}
			want(t, w.send(func(c *Config) { c.Smarthost = &tt.smarthost }, hello, "a@x.test"), tt.want)
			if !strings.Contains(w.log.String(), "level="+tt.level) {
				t.Errorf("not logged at %s: %s", tt.level, &w.log)
			}
			if text := fmt.Sprintf("%v %+v %s", tt.smarthost, &tt.smarthost, &w.log); strings.Contains(text, "s3cret") || strings.Contains(text, "AG1l") {
				t.Errorf("the password leaks: %s", text)
			}
		})
	}
}

func TestWhichDomainsTakeTheSmarthost(t *testing.T) {
	w := newWorld(t)
	w.mx["x.test"], w.mx["y.test"] = "10 mx.x.test", "10 mx.y.test"
	w.addr = map[string]string{"mx.x.test": "192.0.2.1", "mx.y.test": "192.0.2.2", "relay.test": "192.0.2.9"}
	config := func(c *Config) {
		c.Smarthost = &Smarthost{Host: "relay.test"}
		c.Routes = map[string]*Smarthost{"X.test": nil, "z.test": {Host: "192.0.2.5", Port: 26, TLS: NoTLS}}
	}
	for to, address := range map[string]string{"a@x.test": "192.0.2.1", "a@y.test": "192.0.2.9:587", "a@nowhere.test": "192.0.2.9:587", "a@z.test": "192.0.2.5:26"} {
		w.dialled = nil
		want(t, w.send(config, hello, to), "451 4.4.1 local")
		want(t, w.dialled, address)
	}
	delete(w.addr, "relay.test") // our mistake, not the message's
	want(t, w.send(config, hello, "a@y.test"), "451 4.4.4 local")
}
