package imapd

import (
	"encoding/base64"
	"fmt"

	"buzon/internal/sasl"
)

// longestResponse bounds one line of a SASL exchange; tokens of OAuth have some kilobytes.
const longestResponse = 12288 // RFC 4954 4 asks as much of SMTP

// authenticate is AUTHENTICATE (RFC 9051 6.2.2) with an initial response (RFC 4959). The mechanisms
// are those of package sasl.
func (s *session) authenticate(r *request) error {
	mechanism := r.SP().Word()
	var initial *string
	if r.Is(' ') {
		text := r.AString()
		initial = &text
	}
	if err := r.End(); err != nil {
		return err
	}
	exchange, err := s.srv.cfg.Logins.Start(s.ctx, s.client(), mechanism)
	if err != nil {
		return loginAnswer(err)
	}
	var response []byte
	if initial != nil {
		if response, err = decodeResponse(*initial); err != nil {
			return err
		}
	}
	for {
		challenge, done, err := exchange.Next(response)
		if err != nil {
			return loginAnswer(err)
		}
		if done {
			return s.enter(r, exchange.Account)
		}
		if response, err = s.ask(challenge); err != nil {
			return err
		}
	}
}

// ask sends a challenge and returns the client's response to it.
func (s *session) ask(challenge []byte) ([]byte, error) {
	s.enc.Raw("+ ").Raw(base64.StdEncoding.EncodeToString(challenge)).CRLF()
	line, err := s.dec.Line(longestResponse)
	if err != nil {
		return nil, err
	}
	if string(line) == "*" {
		return nil, bad("Authentication cancelled") // RFC 9051 6.2.2
	}
	return decodeResponse(string(line))
}

// decodeResponse reads a response, which is never nil: that would be none.
func decodeResponse(line string) ([]byte, error) {
	if line == "=" { // RFC 4959 3: an empty response
		return []byte{}, nil
	}
	response, err := base64.StdEncoding.DecodeString(line)
	if err != nil {
		return nil, fmt.Errorf("%w", bad("Not base64"))
	}
	return append([]byte{}, response...), nil
}

// client is the session as package sasl sees it.
func (s *session) client() sasl.Client {
	return sasl.Client{
		IP: s.ip, TLS: s.stream.tlsState(), Service: "imap", Log: s.log,
		Trusted: s.srv.cfg.PlaintextFromLoopback && s.ip.IsLoopback(),
	}
}
