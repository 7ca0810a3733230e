//go:build race

package flagent

const hasRaceDetector = true
