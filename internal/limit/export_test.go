package limit

// RateKeys returns how many keys r holds.
func RateKeys(r *Rate) int { return len(r.full) }
