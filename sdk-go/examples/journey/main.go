// Command journey is the demonstration: a reseller's day on a sandbox account, from nothing to a machine and back, step by step as sdk-rust/examples/journey
// plays it. Each step says what it asks for, then what it read back from the platform, and fails if that is not what was promised.
//
// Usage: journey http://127.0.0.1:7070
package main

import (
	"fmt"
	"os"
)

func main() {
	endpoint := "http://127.0.0.1:7070"
	if len(os.Args) > 1 {
		endpoint = os.Args[1]
	}
	stage := &stage{endpoint: endpoint}
	defer func() {
		if problem := recover(); problem != nil {
			promise, ok := problem.(broken)
			if !ok {
				panic(problem)
			}
			fmt.Fprintf(os.Stderr, "step %d: %v\n", stage.steps, promise.what)
			os.Exit(1)
		}
	}()
	play(stage)
	fmt.Println("\nEvery step was observed.")
}

func play(stage *stage) {
	register(stage)
	goods := choose(stage)
	// Three periods can be paid from four net prices, tax included; a fourth cannot.
	topUp(stage, 4*goods.netPrice)
	createClock(stage)

	total := quote(stage, goods)
	bought := buy(stage, goods, total)
	inspect(stage, bought.instanceID, total)
	repeat(stage, bought)

	powerCycle(stage, bought.instanceID)
	rebuild(stage, bought.instanceID, goods.otherImageID)

	loseNextAnswer(stage)
	spare := buyDespiteLostAnswer(stage, goods, total)
	remove(stage, spare)

	renew(stage, bought.instanceID)
	runOutOfMoney(stage, bought.instanceID)
	suspend(stage, bought.instanceID)
	payAndResume(stage, bought.instanceID, 3*goods.netPrice)

	held := payAhead(stage, bought.instanceID)
	remove(stage, bought.instanceID)
	release(stage, bought.instanceID, held)

	prove(stage)
	statement(stage)
	must(0, stage.client.Close())
}
