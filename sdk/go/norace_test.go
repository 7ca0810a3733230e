//go:build !race

package flagent

const hasRaceDetector = false
