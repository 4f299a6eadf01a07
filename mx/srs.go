package mx

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"strings"
	"time"

	"buzon/internal/smtp"
)

// The Sender Rewriting Scheme: mail that is forwarded has a reverse-path of
// ours, or its SPF would fail at the next host, and a bounce to that path finds
// its way back to the sender, because the path says who it is:
//
//	ana@far.test → SRS0=HASH=TT=far.test=ana@ours.test
//
// and where somebody else has rewritten it before, only he is named again:
//
//	SRS0=X=Y=far.test=ana@other.test → SRS1=HASH=other.test==X=Y=far.test=ana@ours.test
//
// HASH is ours alone to make, so that nobody uses us to reach strangers; TT is
// the day, and the path ends with it.

const (
	srsHash = 6       // characters of the hash: 30 bits; a session has ten guesses
	srsDays = 21      // that a path is good for: longer than anybody keeps mail in a queue
	srsWrap = 32 * 32 // days until TT repeats
	maxPath = 64      // octets of a local part, RFC 5321 4.5.3.1.1
	day     = 24 * time.Hour
)

var srsText = base32.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567").WithPadding(base32.NoPadding)

// Errors of reverse.
var (
	errSRSForged  = errors.New("the forwarding address is not one that we have made")
	errSRSExpired = errors.New("the forwarding address has expired")
)

// srs rewrites with a secret.
type srs struct {
	secret []byte
	now    func() time.Time
}

// forward returns the reverse-path for mail from a sender that is forwarded at
// domain. The null one stays, and so becomes one that would be too long.
func (s srs) forward(from smtp.Address, domain string) smtp.Address {
	if from.IsNull() || from.String() != from.Local+"@"+from.Domain {
		return smtp.Address{}
	}
	var local string
	switch kind, rest := cutSRS(from.Local); kind {
	case "SRS0":
		local = s.seal("SRS1", from.Domain+"=="+rest)
	case "SRS1":
		_, chain, ok := strings.Cut(rest, "=")
		if !ok {
			return smtp.Address{}
		}
		local = s.seal("SRS1", chain)
	default:
		local = s.seal("SRS0", s.stamp()+"="+from.Domain+"="+from.Local)
	}
	if len(local) > maxPath {
		return smtp.Address{}
	}
	return smtp.Address{Local: local, Domain: domain}
}

// reverse returns who a rewritten path stands for. is tells a rewritten path
// from other addresses.
func (s srs) reverse(a smtp.Address) (original smtp.Address, is bool, err error) {
	kind, rest := cutSRS(a.Local)
	if kind == "" {
		return smtp.Address{}, false, nil
	}
	hash, body, ok := strings.Cut(rest, "=")
	if !ok || !hmac.Equal([]byte(strings.ToUpper(hash)), []byte(s.hash(kind, body))) {
		return smtp.Address{}, true, errSRSForged
	}
	var text string
	if kind == "SRS1" {
		domain, chain, ok := strings.Cut(body, "==")
		if !ok {
			return smtp.Address{}, true, errSRSForged
		}
		text = "SRS0=" + chain + "@" + domain
	} else {
		f := strings.SplitN(body, "=", 3)
		if len(f) != 3 {
			return smtp.Address{}, true, errSRSForged
		}
		if s.age(f[0]) > srsDays {
			return smtp.Address{}, true, errSRSExpired
		}
		text = f[2] + "@" + f[1]
	}
	original, err = smtp.ParseAddress(text)
	return original, true, err
}

// cutSRS takes the tag off a rewritten local part; others separate it with "+" or "-".
func cutSRS(local string) (kind, rest string) {
	if len(local) < 6 || strings.IndexByte("=+-", local[4]) < 0 {
		return "", ""
	}
	switch kind := strings.ToUpper(local[:4]); kind {
	case "SRS0", "SRS1":
		return kind, local[5:]
	}
	return "", ""
}

func (s srs) seal(kind, body string) string { return kind + "=" + s.hash(kind, body) + "=" + body }

// hash does not see capitals, which some hosts change.
func (s srs) hash(kind, body string) string {
	mac := hmac.New(sha256.New, s.secret)
	mac.Write([]byte(kind + "=" + strings.ToLower(body)))
	return srsText.EncodeToString(mac.Sum(nil))[:srsHash]
}

const stampDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

// stamp is today.
func (s srs) stamp() string {
	n := s.today()
	return string([]byte{stampDigits[n/32], stampDigits[n%32]})
}

func (s srs) today() int { return int(s.now().Unix()/int64(day/time.Second)) % srsWrap }

// age is how many days ago a stamp was made; many when it is none.
func (s srs) age(stamp string) int {
	if len(stamp) != 2 {
		return srsWrap
	}
	stamp = strings.ToUpper(stamp)
	high, low := strings.IndexByte(stampDigits, stamp[0]), strings.IndexByte(stampDigits, stamp[1])
	if high < 0 || low < 0 {
		return srsWrap
	}
	return (s.today() - (high*32 + low) + srsWrap) % srsWrap
}
