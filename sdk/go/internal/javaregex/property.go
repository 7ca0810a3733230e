package javaregex

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"unicode"
)

var (
	digitSet      = ranges(pair{0x30, 0x39})
	wordSet       = ranges(pair{0x30, 0x39}, pair{0x41, 0x5A}, pair{0x5F, 0x5F}, pair{0x61, 0x7A})
	spaceSet      = ranges(pair{0x09, 0x0D}, pair{0x20, 0x20})
	lineEnds      = ranges(pair{0x0A, 0x0A}, pair{0x0D, 0x0D}, pair{0x85, 0x85}, pair{0x2028, 0x2029})
	verticalSpace = ranges(pair{0x0A, 0x0D}, pair{0x85, 0x85}, pair{0x2028, 0x2029})
	horizontal    = ranges(pair{0x09, 0x09}, pair{0x20, 0x20}, pair{0xA0, 0xA0}, pair{0x1680, 0x1680}, pair{0x180E, 0x180E},
		pair{0x2000, 0x200A}, pair{0x202F, 0x202F}, pair{0x205F, 0x205F}, pair{0x3000, 0x3000})
	unicodeSpace = ranges(pair{0x09, 0x0D}, pair{0x20, 0x20}, pair{0x85, 0x85}, pair{0xA0, 0xA0}, pair{0x1680, 0x1680},
		pair{0x2000, 0x200A}, pair{0x2028, 0x2029}, pair{0x202F, 0x202F}, pair{0x205F, 0x205F}, pair{0x3000, 0x3000})
	controls = ranges(pair{0, 0x1F}, pair{0x7F, 0x9F})
	alpha    = ranges(pair{0x41, 0x5A}, pair{0x61, 0x7A})
)

// sets are the sets by name that Java knows: plain names, the methods of java.lang.Character, and those of (?U) and Is.
type sets struct{ plain, unicode map[string]set }

var propertySets = sync.OnceValue(func() sets {
	category := func(names ...string) set {
		var tables []*unicode.RangeTable
		for _, name := range names {
			tables = append(tables, unicode.Categories[name])
		}
		return ofTable(tables...)
	}
	property := func(names ...string) set {
		var tables []*unicode.RangeTable
		for _, name := range names {
			tables = append(tables, unicode.Properties[name])
		}
		return ofTable(tables...)
	}
	plain := map[string]set{
		"ASCII": ranges(pair{0, 0x7F}), "Alnum": ranges(pair{0x30, 0x39}, pair{0x41, 0x5A}, pair{0x61, 0x7A}), "Alpha": alpha,
		"Blank": ranges(pair{0x09, 0x09}, pair{0x20, 0x20}), "Cntrl": ranges(pair{0, 0x1F}, pair{0x7F, 0x7F}), "Digit": digitSet,
		"Graph": ranges(pair{0x21, 0x7E}), "Lower": ranges(pair{0x61, 0x7A}), "Print": ranges(pair{0x20, 0x7E}),
		"Punct": ranges(pair{0x21, 0x2F}, pair{0x3A, 0x40}, pair{0x5B, 0x60}, pair{0x7B, 0x7E}), "Space": spaceSet,
		"Upper": ranges(pair{0x41, 0x5A}), "XDigit": ranges(pair{0x30, 0x39}, pair{0x41, 0x46}, pair{0x61, 0x66}),
	}
	for _, name := range strings.Fields("L Lu Ll Lt Lm Lo M Mn Me Mc N Nd Nl No Z Zs Zl Zp Cc Cf Co Cs P Pd Ps Pe Pc Po Pi Pf S Sm Sc Sk So") {
		plain[name] = category(name)
	}
	unassigned := noneOf(category("L", "M", "N", "Z", "Cc", "Cf", "Co", "Cs", "P", "S"))
	ignorable := anyOf(ranges(pair{0, 8}, pair{0x0E, 0x1B}, pair{0x7F, 0x9F}), category("Cf"))
	javaStart := category("L", "Nl", "Sc", "Pc")
	pattern := property("Pattern_Syntax", "Pattern_White_Space")
	idStart := bothOf(anyOf(category("L", "Nl"), property("Other_ID_Start")), noneOf(pattern))
	idContinue := bothOf(anyOf(idStart, category("Mn", "Mc", "Nd", "Pc"), property("Other_ID_Continue")), noneOf(pattern))
	alphabetic := anyOf(category("L", "Nl"), property("Other_Alphabetic"))
	lowercase := anyOf(category("Ll"), property("Other_Lowercase"))
	uppercase := anyOf(category("Lu"), property("Other_Uppercase"))
	for name, s := range map[string]set{
		"Cn": unassigned, "C": anyOf(category("Cc", "Cf", "Co", "Cs"), unassigned), "LC": category("Lu", "Ll", "Lt"),
		"LD": category("L", "Nd"), "L1": ranges(pair{0, 0xFF}), "all": anyRune,
		"javaLowerCase": lowercase, "javaUpperCase": uppercase, "javaAlphabetic": alphabetic, "javaIdeographic": property("Ideographic"),
		"javaTitleCase": category("Lt"), "javaDigit": category("Nd"), "javaDefined": noneOf(unassigned), "javaLetter": category("L"),
		"javaLetterOrDigit": category("L", "Nd"), "javaJavaIdentifierStart": javaStart,
		"javaJavaIdentifierPart":     anyOf(javaStart, category("Nd", "Mc", "Mn"), ignorable),
		"javaUnicodeIdentifierStart": idStart, "javaUnicodeIdentifierPart": anyOf(idContinue, ignorable),
		"javaIdentifierIgnorable": ignorable, "javaSpaceChar": category("Z"),
		"javaWhitespace": ranges(pair{0x09, 0x0D}, pair{0x1C, 0x20}, pair{0x1680, 0x1680}, pair{0x2000, 0x2006}, pair{0x2008, 0x200A},
			pair{0x2028, 0x2029}, pair{0x205F, 0x205F}, pair{0x3000, 0x3000}),
		"javaISOControl": controls,
	} {
		plain[name] = s
	}
	return sets{plain, map[string]set{
		"ALPHABETIC": alphabetic, "ASSIGNED": noneOf(unassigned), "CONTROL": controls,
		"HEXDIGIT":    anyOf(category("Nd"), ranges(pair{0x41, 0x46}, pair{0x61, 0x66}, pair{0xFF21, 0xFF26}, pair{0xFF41, 0xFF46})),
		"IDEOGRAPHIC": property("Ideographic"), "JOINCONTROL": ranges(pair{0x200C, 0x200D}), "LETTER": category("L"),
		"LOWERCASE": lowercase, "NONCHARACTERCODEPOINT": property("Noncharacter_Code_Point"), "TITLECASE": category("Lt"),
		"PUNCTUATION": category("P"), "UPPERCASE": uppercase, "WHITESPACE": unicodeSpace,
		"WORD":  anyOf(alphabetic, category("M", "Nd", "Pc"), property("Join_Control")),
		"DIGIT": category("Nd"), "ALNUM": anyOf(alphabetic, category("Nd")), "BLANK": anyOf(ranges(pair{0x09, 0x09}), category("Zs")),
		"GRAPH": noneOf(anyOf(unicodeSpace, controls, category("Cs"), unassigned)),
		"PRINT": noneOf(anyOf(verticalSpace, ranges(pair{0x09, 0x09}), controls, unassigned)),
	}}
})

var (
	unicodePosix = map[string]string{
		"ALPHA": "ALPHABETIC", "LOWER": "LOWERCASE", "UPPER": "UPPERCASE", "SPACE": "WHITESPACE", "PUNCT": "PUNCTUATION",
		"XDIGIT": "HEXDIGIT", "ALNUM": "ALNUM", "CNTRL": "CONTROL", "DIGIT": "DIGIT", "BLANK": "BLANK", "GRAPH": "GRAPH", "PRINT": "PRINT",
	}
	withUnderscore = map[string]string{
		"HEX_DIGIT": "HEXDIGIT", "JOIN_CONTROL": "JOINCONTROL", "NONCHARACTER_CODE_POINT": "NONCHARACTERCODEPOINT", "WHITE_SPACE": "WHITESPACE",
	}
	blockAliases = map[string]string{
		"GREEKANDCOPTIC": "GREEK", "CYRILLICSUPPLEMENT": "CYRILLICSUPPLEMENTARY", "COMBININGDIACRITICALMARKSFORSYMBOLS": "COMBININGMARKSFORSYMBOLS",
	}
)

var scripts = sync.OnceValue(func() map[string]string {
	found := map[string]string{}
	for _, entry := range strings.Fields(scriptNames) {
		names := strings.Split(entry, "=")
		for _, name := range names {
			found[name] = names[0]
		}
	}
	return found
})

var blocks = sync.OnceValue(func() map[string]pair {
	found := map[string]pair{}
	for _, entry := range strings.Fields(blockNames) {
		parts := strings.Split(entry, ":")
		first, err := strconv.ParseInt(parts[1], 16, 32)
		last, err2 := strconv.ParseInt(parts[2], 16, 32)
		if err != nil || err2 != nil {
			panic(fmt.Sprintf("javaregex: the block %q", entry))
		}
		found[strings.ReplaceAll(parts[0], "_", "")] = pair{rune(first), rune(last)}
	}
	return found
})

// classSet is \d, \s, \w, \h, \v and their complements; isUnicode extends the first three, as (?U) does.
func classSet(letter rune, isUnicode bool) set {
	var known set
	switch unicode.ToLower(letter) {
	case 'd':
		if known = digitSet; isUnicode {
			known = propertySets().unicode["DIGIT"]
		}
	case 's':
		if known = spaceSet; isUnicode {
			known = unicodeSpace
		}
	case 'w':
		if known = wordSet; isUnicode {
			known = propertySets().unicode["WORD"]
		}
	case 'h':
		known = horizontal
	default:
		known = verticalSpace
	}
	if unicode.IsUpper(letter) {
		return noneOf(known)
	}
	return known
}

// propertySet is the set of \p{name}. It fails for a name unknown to Java, and for one that only Java's tables know.
//
// folds is (?i), under which upper, lower and title case are equal; isUnicode is (?U), which extends the POSIX names.
// Names of blocks ignore blanks, hyphens and underscores, a little more freely than in Java.
func propertySet(name string, folds, isUnicode bool) set {
	var found set
	ok := false
	if kind, value, hasValue := strings.Cut(name, "="); hasValue {
		switch strings.ToLower(kind) {
		case "sc", "script":
			found, ok = script(value)
		case "blk", "block":
			found, ok = block(value)
		case "gc", "general_category":
			found, ok = plainSet(value, folds)
		}
	} else if rest, is := strings.CutPrefix(name, "In"); is {
		found, ok = block(rest)
	} else if rest, is := strings.CutPrefix(name, "Is"); is {
		if found, ok = unicodeSet(rest, folds); !ok {
			if found, ok = plainSet(rest, folds); !ok {
				found, ok = script(rest)
			}
		}
	} else if posix, is := unicodePosix[strings.ToUpper(name)]; is && isUnicode {
		found, ok = unicodeSet(posix, folds)
	} else {
		found, ok = plainSet(name, folds)
	}
	if !ok {
		panic(errInvalid)
	}
	return found
}

func script(name string) (set, bool) {
	full, ok := scripts()[strings.ToUpper(name)]
	if !ok {
		return nil, false
	}
	if full == "UNKNOWN" {
		var all []set
		for _, table := range unicode.Scripts {
			all = append(all, ofTable(table))
		}
		return noneOf(anyOf(all...)), true
	}
	for known, table := range unicode.Scripts {
		if strings.EqualFold(known, full) {
			return ofTable(table), true
		}
	}
	panic(errUnsupported)
}

func block(name string) (set, bool) {
	bare := strings.NewReplacer(" ", "", "_", "", "-", "").Replace(strings.ToUpper(name))
	if alias, ok := blockAliases[bare]; ok {
		bare = alias
	}
	p, ok := blocks()[bare]
	return set{p}, ok
}

func plainSet(name string, folds bool) (set, bool) {
	known := propertySets()
	switch {
	case name == "javaMirrored":
		panic(errUnsupported)
	case folds && (name == "Lu" || name == "Ll" || name == "Lt"):
		name = "LC"
	case folds && (name == "javaLowerCase" || name == "javaUpperCase" || name == "javaTitleCase"):
		return anyOf(known.unicode["LOWERCASE"], known.unicode["UPPERCASE"], known.unicode["TITLECASE"]), true
	case folds && (name == "Lower" || name == "Upper"):
		return alpha, true
	}
	found, ok := known.plain[name]
	return found, ok
}

func unicodeSet(name string, folds bool) (set, bool) {
	name = strings.ToUpper(name)
	if other, ok := withUnderscore[name]; ok {
		name = other
	}
	known := propertySets().unicode
	if folds && (name == "LOWERCASE" || name == "UPPERCASE" || name == "TITLECASE") {
		return anyOf(known["LOWERCASE"], known["UPPERCASE"], known["TITLECASE"]), true
	}
	found, ok := known[name]
	return found, ok
}
