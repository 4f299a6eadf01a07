package main

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// reloadAndTell reloads for a signal, whose sender reads the log.
func (h *host) reloadAndTell() {
	notify(notifyReloading())
	defer notify(notifyReady)
	restart, err := h.reload()
	if err != nil {
		h.log.Error("reload refused, the old configuration stays", "err", err)
		return
	}
	if len(restart) > 0 {
		h.log.Warn("these changes need a restart", "keys", strings.Join(restart, " "))
	}
	h.log.Info("reloaded", "path", h.path)
}

// reload reads everything again. On an error about the configuration nothing
// changes; a certificate or account file that cannot be used stays as it was
// and is in the error too. restart names the keys whose change has to wait.
func (h *host) reload() (restart []string, err error) {
	h.reloading.Lock()
	defer h.reloading.Unlock()
	next, err := loadConfig(h.path)
	if err != nil {
		return nil, err
	}
	if err := next.ensureKeys(h.keys, h.log); err != nil {
		return nil, err
	}
	if err := h.accounts.Configure(next.domains()); err != nil {
		return nil, fmt.Errorf("accounts: %w", err)
	}
	h.logLevel.Set(next.Log.level())
	h.defaultQuota.Store(int64(next.Limits.Quota))
	restart = needRestart(h.cfg, next)
	// What needs a restart is compared with what is in force, not with what
	// the last reload found.
	h.cfg.Log.Level, h.cfg.Limits.Quota = next.Log.Level, next.Limits.Quota
	h.cfg.Domains, h.cfg.Domain, h.cfg.Postmaster = next.Domains, next.Domain, next.Postmaster
	return restart, errors.Join(h.accounts.Reload(), h.certs.Reload())
}

// live are the keys that a reload puts in force; "*" is any name.
var live = []string{
	"domains", "postmaster", "domain", "limits.quota", "log.level",
}

// needRestart names the keys that differ and are not live.
func needRestart(old, next *config) []string {
	var keys []string
	var compare func(prefix string, a, b reflect.Value)
	compare = func(prefix string, a, b reflect.Value) {
		for i := range a.NumField() {
			key := prefix + a.Type().Field(i).Tag.Get("toml")
			switch {
			case slices.Contains(live, key):
			case a.Field(i).Kind() == reflect.Struct:
				compare(key+".", a.Field(i), b.Field(i))
			case !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()):
				keys = append(keys, key)
			}
		}
	}
	compare("", reflect.ValueOf(*old), reflect.ValueOf(*next))
	return keys
}
