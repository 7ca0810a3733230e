package flagent_test

import (
	"context"
	"fmt"
	"log"
	"time"

	flagent "github.com/flagent-cdc/flagent-go"
)

// A live copy of all flags: reading and evaluating uses no network.
func Example() {
	client, err := flagent.NewClient("https://flags.example", flagent.WithAPIKey("fla_sk_…"))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	store, err := flagent.NewStore(client)
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := store.Ready(ctx); err != nil {
		log.Fatal(err)
	}
	result, err := store.Evaluate("checkout", flagent.Entity{ID: "user123", Context: flagent.Context{"country": "DE", "age": 42}})
	fmt.Println(store.Enabled("checkout"), result.VariantKey, err)
}

// Handlers are called one at a time, in order, and once per difference. A subscription ends with its context.
func ExampleClient_Subscribe() {
	client, err := flagent.NewClient("https://flags.example")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	_, err = client.Subscribe(ctx, "checkout", func(flag flagent.Flag) { fmt.Println(flag.Key, "is on:", flag.Enabled) })
	if err != nil {
		log.Fatal(err)
	}
}

// A loop over events. Leaving the loop ends the subscription.
func ExampleClient_Events() {
	client, err := flagent.NewClient("https://flags.example")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	for event, err := range client.Events(context.Background(), flagent.Selectors{Tags: []string{"payment"}}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(event.Type, event.FlagKey, event.CommittedAt)
	}
}

// A fleet that must not use a whole snapshot's memory holds a part of the flags.
func ExampleStoreTags() {
	client, err := flagent.NewClient("https://flags.example")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	store, err := flagent.NewStore(client, flagent.StoreTags("web"), flagent.StoreFlags("checkout"))
	if err != nil {
		log.Fatal(err)
	}
	store.OnChange(func(change flagent.Change) { fmt.Println(change.Kind, change.Key) })
}

// An address that is none is refused at once.
func ExampleNewClient_address() {
	_, err := flagent.NewClient("flags.example")
	fmt.Println(err)
	// Output: flagent: the address "flags.example" has no host; write it as https://flags.example
}

func ExampleStatus() {
	fmt.Println(flagent.Initializing, flagent.Ready, flagent.Stale, flagent.Failed, flagent.Closed)
	// Output: INITIALIZING READY STALE ERROR CLOSED
}
