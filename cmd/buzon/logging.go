package main

import (
	"io"
	"log/slog"
)

// newLog returns the log that the configuration asks for, and the level, which
// a reload may change.
func newLog(cfg logConfig, w io.Writer) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	level.Set(cfg.level())
	options := &slog.HandlerOptions{Level: level}
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options)), level
	}
	return slog.New(slog.NewTextHandler(w, options)), level
}

func (c logConfig) level() slog.Level {
	var l slog.Level
	_ = l.UnmarshalText([]byte(c.Level)) // checked with the configuration
	return l
}
