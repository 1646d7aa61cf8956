package attempt

import "strings"

// VariantName is how an attempt's record names a variant: the bare name for one
// of the job's own engine, engine/variant for one of another. No name of an engine
// or a variant holds a slash, so the record alone says which engine it was.
func VariantName(engine, variant string) string {
	if engine == "" {
		return variant
	}
	return engine + "/" + variant
}

// SplitVariant is the reverse; engine is empty for the job's own.
func SplitVariant(name string) (engine, variant string) {
	if engine, variant, found := strings.Cut(name, "/"); found {
		return engine, variant
	}
	return "", name
}

// EngineOf gives the name of the engine that an attempt ran, given the job's own.
func EngineOf(name, own string) string {
	if engine, _ := SplitVariant(name); engine != "" {
		return engine
	}
	return own
}
