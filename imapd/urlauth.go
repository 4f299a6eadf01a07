package imapd

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net"
	"net/url"
	"strings"
	"time"

	"buzon/internal/account"
	"buzon/maildir"
)

// URLAUTH (RFC 4467): an account signs the URL of one of its messages, or of a part of it, and
// whoever the URL names may fetch it with URLFETCH, or put it into a message with CATENATE:
//
//	imap://ana@example.org/INBOX/;UID=20/;SECTION=1.2;EXPIRE=…;URLAUTH=user+luis:internal:<hex>
//	\_________________________ the rump ________________________________/
//
// The mechanism is INTERNAL: an HMAC-SHA-256 over the rump, as it is written, with a key that the
// account has for the mailbox. RESETKEY takes that away, and with it all that was signed.

const (
	urlMechanism = "INTERNAL"
	longestURL   = 4096
	mostURLs     = 100 // in one command
)

var errBadURL = bad("Not the URL of a message of yours that can be signed")

// A signedURL is an imap: URL with its parts.
type signedURL struct {
	owner   string // as it is written: a name or an address
	host    string
	message messageURL
	expire  time.Time // zero: never
	access  string    // "anonymous", "authuser", "user+…" or "submit+…", decoded
	rump    string    // what is signed
	token   string    // "" in a rump
}

// isAuthorizedURL tells an absolute URL from one relative to the session.
func isAuthorizedURL(text string) bool {
	return len(text) > 7 && strings.EqualFold(text[:7], "imap://")
}

// parseSignedURL takes a URL apart; errURL.
func parseSignedURL(text string) (u signedURL, err error) {
	at := strings.LastIndex(strings.ToUpper(text), ";URLAUTH=")
	if len(text) > longestURL || !isAuthorizedURL(text) || at < 0 || strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
		return u, errURL
	}
	access, rest, signed := strings.Cut(text[at+len(";URLAUTH="):], ":")
	u.rump = text[:at+len(";URLAUTH=")+len(access)]
	if u.access, err = url.PathUnescape(access); err != nil {
		return u, errURL
	}
	if signed {
		mechanism, token, ok := strings.Cut(rest, ":")
		if !ok || !strings.EqualFold(mechanism, urlMechanism) || token == "" {
			return u, errURL
		}
		u.token = token
	}
	if !u.knownAccess() {
		return u, errURL
	}
	body := text[len("imap://"):at]
	if at := strings.LastIndex(strings.ToUpper(body), ";EXPIRE="); at >= 0 {
		if u.expire, err = time.Parse(time.RFC3339, strings.ToUpper(body[at+len(";EXPIRE="):])); err != nil {
			return u, errURL
		}
		body = body[:at]
	}
	server, path, ok := strings.Cut(body, "/")
	if !ok {
		return u, errURL
	}
	if err := u.setServer(server); err != nil {
		return u, err
	}
	u.message, err = parseMessageURL("/" + path)
	return u, err
}

// knownAccess checks the access identifier (RFC 4467 3).
func (u *signedURL) knownAccess() bool {
	kind, who, _ := strings.Cut(u.access, "+")
	switch strings.ToLower(kind) {
	case "anonymous", "authuser":
		return kind == u.access
	case "user", "submit":
		return who != ""
	}
	return false
}

// setServer reads iuserauth "@" hostport; the user is needed (RFC 4467 7).
func (u *signedURL) setServer(server string) error {
	at := strings.LastIndexByte(server, '@')
	if at < 1 {
		return errURL
	}
	name, _, _ := strings.Cut(server[:at], ";") // ;AUTH= says how to log in
	owner, err := url.PathUnescape(name)
	if err != nil || owner == "" {
		return errURL
	}
	u.owner, u.host = owner, server[at+1:]
	if host, _, err := net.SplitHostPort(u.host); err == nil {
		u.host = host
	}
	return nil
}

// ownerID finds the account that a URL names: an address, or a name in the domain of its host or of
// the session.
func (s *session) ownerID(u signedURL) (account.ID, bool) {
	local := s.stream.LocalAddr().String()
	if host, _, err := net.SplitHostPort(local); err == nil {
		local = host
	}
	dir := s.srv.cfg.Directory
	if !strings.EqualFold(u.host, s.srv.cfg.Hostname) && !dir.IsLocalDomain(u.host) && u.host != local {
		return "", false
	}
	names := []string{u.owner}
	if !strings.Contains(u.owner, "@") {
		names = []string{u.owner + "@" + u.host, u.owner + "@" + s.account.ID.Domain()}
	}
	for _, name := range names {
		if id, err := account.ParseID(name); err == nil {
			if _, ok := dir.Lookup(id); ok {
				return id, true
			}
		}
	}
	return "", false
}

// admits says whether the account may fetch the URL (RFC 4467 3). A name without a domain is one of
// the signer's domain. What is for a submission server is for nobody here.
func (u *signedURL) admits(id account.ID, domain string) bool {
	kind, who, _ := strings.Cut(u.access, "+")
	switch strings.ToLower(kind) {
	case "anonymous", "authuser":
		return true
	case "user":
		return strings.EqualFold(who, string(id)) || strings.EqualFold(who+"@"+domain, string(id))
	}
	return false
}

func sign(key []byte, rump string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(rump))
	return hex.EncodeToString(mac.Sum(nil))
}

// genURLAuth is GENURLAUTH (RFC 4467 7). A key is made where the mailbox has none.
func (s *session) genURLAuth(r *request) error {
	var rumps []string
	known := true
	for r.Is(' ') && r.Item() {
		rumps = append(rumps, r.AString())
		known = strings.EqualFold(r.SP().Atom(), urlMechanism) && known
	}
	if len(rumps) == 0 || len(rumps) > mostURLs {
		r.Fail("expected URLs with their mechanisms")
	}
	if err := r.End(); err != nil {
		return err
	}
	if !known {
		return bad("The only mechanism is INTERNAL")
	}
	signed := make([]string, len(rumps))
	for i, rump := range rumps {
		token, err := s.signURL(rump)
		if err != nil {
			return err
		}
		signed[i] = rump + ":" + strings.ToLower(urlMechanism) + ":" + token
	}
	s.enc.Raw("* GENURLAUTH")
	for _, text := range signed {
		s.enc.SP().String(text)
	}
	s.enc.CRLF()
	return nil
}

// signURL checks what RFC 4467 7 wants checked: a message of the account, in a mailbox that is there.
func (s *session) signURL(rump string) (token string, err error) {
	u, err := parseSignedURL(rump)
	if err != nil || u.token != "" || u.rump != rump {
		return "", errBadURL
	}
	if id, ok := s.ownerID(u); !ok || id != s.account.ID {
		return "", errBadURL
	}
	if _, err := u.message.parseSection(); err != nil {
		return "", errBadURL
	}
	box, _, _, err := s.openMailbox(u.message.mailbox, mayRead)
	if errors.Is(err, maildir.ErrNotFound) || errors.Is(err, errNoPermission) {
		return "", errBadURL
	}
	if err != nil {
		return "", err
	}
	defer box.Close()
	if u.message.uidValidity != 0 && u.message.uidValidity != box.State().UIDValidity() {
		return "", errBadURL
	}
	key, err := s.user.URLKey(s.ctx, box.ID(), true)
	if err != nil {
		return "", err
	}
	return sign(key, rump), nil
}

// verifyURL checks a signed URL, and returns what it leads to and the account that has signed it.
// Whatever is wrong with it, the answer is errURL.
func (s *session) verifyURL(text string) (messageURL, viewer, error) {
	u, err := parseSignedURL(text)
	if err != nil || u.token == "" || !u.expire.IsZero() && !time.Now().Before(u.expire) {
		return u.message, viewer{}, errURL
	}
	v, err := s.signer(u)
	if err == nil && !u.admits(s.account.ID, v.id.Domain()) {
		err = errURL
	}
	if err != nil {
		return u.message, v, err
	}
	box, _, _, err := s.openMailboxAs(v, u.message.mailbox, mayRead)
	if errors.Is(err, maildir.ErrNotFound) || errors.Is(err, errNoPermission) || errors.Is(err, maildir.ErrBadName) {
		err = errURL
	}
	if err != nil {
		return u.message, v, err
	}
	defer box.Close()
	key, err := v.user.URLKey(s.ctx, box.ID(), false)
	if err == nil && (key == nil || !hmac.Equal([]byte(sign(key, u.rump)), []byte(strings.ToLower(u.token)))) {
		err = errURL
	}
	return u.message, v, err
}

// signer finds the account that the URL says has signed it, if it ever signed one.
func (s *session) signer(u signedURL) (viewer, error) {
	id, ok := s.ownerID(u)
	if !ok {
		return viewer{}, errURL
	}
	if id == s.account.ID {
		return s.self(), nil
	}
	has, err := s.srv.cfg.Store.HasURLKeys(string(id))
	if err != nil {
		return viewer{}, err
	}
	if !has {
		return viewer{}, errURL
	}
	user, err := s.openTree(id)
	return viewer{id, user}, err
}

// urlFetch is URLFETCH (RFC 4467 7): each URL with what it leads to, or NIL.
func (s *session) urlFetch(r *request) error {
	var urls []string
	for r.Is(' ') && r.Item() {
		urls = append(urls, r.AString())
	}
	if len(urls) == 0 || len(urls) > mostURLs {
		r.Fail("expected URLs")
	}
	if err := r.End(); err != nil {
		return err
	}
	for _, text := range urls {
		if err := s.writeURL(text); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) writeURL(text string) error {
	u, v, err := s.verifyURL(text)
	if err == nil {
		content, p, release, oerr := s.openURL(v, u)
		if oerr == nil {
			defer release()
			s.enc.Raw("* URLFETCH ").String(text).SP().Literal(p.size).Copy(content, p.size).CRLF()
			return s.enc.Err()
		}
		err = oerr
	}
	var n *noError
	if !errors.Is(err, errURL) && !isGone(err) && !errors.Is(err, maildir.ErrNotFound) && !errors.As(err, &n) {
		s.log.Error("URL", "user", string(s.account.ID), "err", err)
	}
	s.enc.Raw("* URLFETCH ").String(text).Raw(" NIL\r\n")
	return nil
}

// resetKey is RESETKEY (RFC 4467 7): for one mailbox, or for all.
func (s *session) resetKey(r *request) error {
	name := ""
	if r.Is(' ') {
		name = r.Mailbox()
		for r.Is(' ') && r.Item() {
			if !strings.EqualFold(r.Atom(), urlMechanism) {
				r.Fail("the only mechanism is INTERNAL")
			}
		}
		if name == "" {
			r.Fail("expected a mailbox")
		}
	}
	if err := r.End(); err != nil {
		return err
	}
	r.code = "URLMECH " + urlMechanism
	if name == "" {
		return s.user.ResetURLKey(s.ctx, "")
	}
	box, _, _, err := s.openNamed(r, name)
	if err != nil {
		return err
	}
	defer box.Close()
	return s.user.ResetURLKey(s.ctx, box.ID())
}
