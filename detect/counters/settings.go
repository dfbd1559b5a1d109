package counters

import "lostbeat/detect"

// Settings are the thresholds of counter-coincidence; docs/DETECTORS.md explains each.
type Settings struct {
	MinSamples   uint64
	BusyShare    float64
	RobustZ      float64
	Significance float64
	MaxSamples   uint64
}

// Fields lists the settings with their defaults, meanings and reasons.
func (s *Settings) Fields() []detect.Field {
	return []detect.Field{
		{
			Key:     "min_samples",
			Default: "30",
			Doc:     "samples before a counter is judged",
			Reason:  "a baseline of 30 values",
			Value:   &s.MinSamples,
		},
		{
			Key:     "busy_share",
			Default: "0.25",
			Doc:     "DPC or interrupt share of one CPU that can be called unusual at all",
			Reason:  "PAL warns at 10 % all the time; one core at 14 % was measured on an idle desktop",
			Value:   &s.BusyShare,
		},
		{
			Key:     "robust_z",
			Default: "6",
			Doc:     "distance from the median, in robust standard deviations, that is unusual",
			Reason:  "outlier rule of Iglewicz and Hoaglin is 3.5; DPC time is not normal",
			Value:   &s.RobustZ,
		},
		{
			Key:     "significance",
			Default: "0.01",
			Doc:     "largest probability of the coincidence under shifts of the log",
			Reason:  "1 in 100",
			Value:   &s.Significance,
		},
		{
			Key:     "max_samples",
			Default: "100000",
			Doc:     "samples kept of one counter",
			Reason:  "bounded memory: a day of 1 s",
			Value:   &s.MaxSamples,
		},
	}
}
