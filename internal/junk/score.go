package junk

import (
	"cmp"
	"math"
	"slices"
)

// The constants of Robinson's and Fisher's method. What is known of a word counts
// beside strength messages that say neutral; words that say little are left out, and
// of the others the most telling are asked. SpamBayes has 0.45 and 0.1; with these a
// word of a single message says nothing, which finds a tenth less junk and takes no
// letter for it while little is known (TestFindsJunk).
const (
	strength  = 1
	neutral   = 0.5
	telling   = 0.3 // from neutral, at least
	newcomer  = 50  // messages of either kind at which strength counts twice: chance has a say in few
	mostWords = 150
	fewWords  = 5 // with fewer nobody can tell
)

// score says how much a message is like junk, from 0 to 1. Each word has a
// probability; Fisher's method gives the probability that so many of them would
// point to junk, or away from it, by chance. Where both do, the score is near the
// middle: this is how a message that nobody has seen the like of looks.
func (m *Memory) score(s Sample) float64 {
	var found []float64
	for _, hash := range s.Words {
		w := m.word(hash)
		if p := m.probability(w); math.Abs(p-neutral) >= telling {
			found = append(found, p)
		}
	}
	if len(found) < fewWords {
		return neutral
	}
	slices.SortFunc(found, func(a, b float64) int { return cmp.Compare(math.Abs(b-neutral), math.Abs(a-neutral)) })
	found = found[:min(len(found), mostWords)]
	var likeGood, likeJunk float64 // logarithms
	for _, p := range found {
		likeGood += math.Log(1 - p)
		likeJunk += math.Log(p)
	}
	junk := 1 - chance(-2*likeGood, len(found))
	good := 1 - chance(-2*likeJunk, len(found))
	return (1 + junk - good) / 2
}

// probability is how likely a message with this word is junk, as if there were as
// many messages of either kind.
func (m *Memory) probability(w word) float64 {
	n := float64(w.good) + float64(w.junk)
	if n == 0 || m.good == 0 || m.junk == 0 {
		return neutral
	}
	good, junk := float64(w.good)/float64(m.good), float64(w.junk)/float64(m.junk)
	doubt := strength * (1 + newcomer/float64(min(m.good, m.junk)))
	return (doubt*neutral + n*junk/(good+junk)) / (doubt + n)
}

// chance is the probability that chi-square with 2n degrees of freedom is x or more.
func chance(x float64, n int) float64 {
	half := x / 2
	term := math.Exp(-half)
	sum := term
	if term == 0 { // beyond what a float64 holds: the logarithm's largest term decides
		return chanceLog(half, n)
	}
	for i := 1; i < n; i++ {
		term *= half / float64(i)
		sum += term
	}
	return min(sum, 1)
}

// chanceLog is chance where exp(-half) is 0.
func chanceLog(half float64, n int) float64 {
	log := -half
	sum := 0.0
	for i := 1; i < n; i++ {
		log += math.Log(half / float64(i))
		sum += math.Exp(log)
	}
	return min(sum, 1)
}
