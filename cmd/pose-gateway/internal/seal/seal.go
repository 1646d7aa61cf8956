// Package seal keeps the gateway without state of its own: what it must find again
// travels with the client, encrypted and authenticated.
//
// Each purpose has its own key, derived from the master keys by HKDF-SHA256 (RFC
// 5869), so that a link is never taken for a session. The cipher is AES-256-GCM with
// random nonces: https://pkg.go.dev/crypto/cipher#NewGCMWithRandomNonce.
package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// minKey is how many bytes a master key needs.
const minKey = 32

// ErrInvalid is the error of what was not sealed here, or for something else.
var ErrInvalid = errors.New("it was not made by this service, or its key is no longer in use")

// ErrExpired is the error of what was valid once.
var ErrExpired = errors.New("it has expired")

// Keys are master keys, the first of which seals; all of them open, so that a key can
// be replaced without ending sessions.
type Keys struct{ master [][]byte }

// New checks master keys. White space around them is left out, as files end with it.
func New(master ...[]byte) (*Keys, error) {
	if len(master) == 0 {
		return nil, errors.New("no key: give a file with at least 32 random bytes")
	}
	k := &Keys{}
	for i, m := range master {
		if m = bytes.TrimSpace(m); len(m) < minKey {
			return nil, fmt.Errorf("key %d has %d bytes: it needs at least %d random ones", i+1, len(m), minKey)
		}
		k.master = append(k.master, m)
	}
	return k, nil
}

type box struct {
	Expires int64           `json:"e"` // Unix seconds
	Value   json.RawMessage `json:"v"`
}

// Seal gives v as text for URLs, cookies and headers.
func (k *Keys) Seal(purpose string, v any, expires time.Time) (string, error) {
	value, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("seal a %s: %w", purpose, err)
	}
	plain, err := json.Marshal(box{Expires: expires.Unix(), Value: value})
	if err != nil {
		return "", fmt.Errorf("seal a %s: %w", purpose, err)
	}
	aead, err := cipherOf(k.master[0], purpose)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(aead.Seal(nil, nil, plain, []byte(purpose))), nil //nolint:gosec // this cipher makes the nonce itself
}

// Open reads into v what Seal gave for the same purpose.
func (k *Keys) Open(purpose, text string, v any, now time.Time) error {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return ErrInvalid
	}
	for _, m := range k.master {
		aead, err := cipherOf(m, purpose)
		if err != nil {
			return err
		}
		plain, err := aead.Open(nil, nil, raw, []byte(purpose))
		if err != nil {
			continue
		}
		var b box
		if err := json.Unmarshal(plain, &b); err != nil {
			return ErrInvalid
		}
		if !now.Before(time.Unix(b.Expires, 0)) {
			return ErrExpired
		}
		if err := json.Unmarshal(b.Value, v); err != nil {
			return ErrInvalid
		}
		return nil
	}
	return ErrInvalid
}

func cipherOf(master []byte, purpose string) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, master, nil, "pose-gateway/"+purpose, 32)
	if err != nil {
		return nil, fmt.Errorf("derive the key of a %s: %w", purpose, err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("use the key of a %s: %w", purpose, err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("use the key of a %s: %w", purpose, err)
	}
	return aead, nil
}
