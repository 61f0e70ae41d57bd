package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	sewa "github.com/sewa-project/sewa/sdk-go"
	eventv1 "github.com/sewa-project/sewa/sdk-go/event/v1"
	sandboxv1 "github.com/sewa-project/sewa/sdk-go/sandbox/v1"
	walletv1 "github.com/sewa-project/sewa/sdk-go/wallet/v1"
)

func wallets(s *stage) walletv1.WalletServiceClient { return walletv1.NewWalletServiceClient(s.client) }

// balance is what can be spent, and what is set aside.
func balance(s *stage) (available, held int64) {
	wallet := must(wallets(s).GetWallet(ctx, &walletv1.GetWalletRequest{})).GetWallet()
	return wallet.GetAvailable().GetUnits(), wallet.GetHeld().GetUnits()
}

// topUp pays money in, and sees it arrive.
func topUp(s *stage, amount int64) {
	before, _ := balance(s)
	s.asks("open a deposit of %s at the sandbox gateway", rupiah(amount))
	opened := deposit(s, amount)
	pending, _ := balance(s)
	s.check(opened.GetState() == walletv1.Deposit_STATE_PENDING && pending == before, "the deposit is %s before it is paid", opened.GetState())
	s.sees("deposit %s is PENDING, the balance still %s", opened.GetId(), rupiah(pending))

	s.asks("pay it, as the payer would")
	settle(s, opened.GetId())
	after, _ := balance(s)
	s.check(after == before+amount, "the balance went from %s to %s", rupiah(before), rupiah(after))
	s.sees("the balance is %s", rupiah(after))
}

// deposit opens a deposit, and reads it back.
func deposit(s *stage, amount int64) *walletv1.Deposit {
	made := must(wallets(s).CreateDeposit(ctx, &walletv1.CreateDepositRequest{Amount: idr(amount), Method: walletv1.Deposit_METHOD_SANDBOX}))
	return readDeposit(s, made.GetDeposit().GetId())
}

func readDeposit(s *stage, id string) *walletv1.Deposit {
	return must(wallets(s).GetDeposit(ctx, &walletv1.GetDepositRequest{DepositId: id})).GetDeposit()
}

// settle has a deposit paid, and sees it announced and PAID.
func settle(s *stage, id string) {
	must(sandbox(s).SettleDeposit(ctx, &sandboxv1.SettleDepositRequest{DepositId: id, Outcome: sandboxv1.SettleDepositRequest_OUTCOME_PAID}))
	events := s.follow(id, eventv1.EventType_EVENT_TYPE_DEPOSIT_PAID)
	state := readDeposit(s, id).GetState()
	s.check(state == walletv1.Deposit_STATE_PAID, "the deposit is %s after it was paid", state)
	s.sees("events %s; the deposit is PAID", names(events))
}

// prove has the account's books recomputed from their first entry on.
func prove(s *stage) {
	s.asks("prove the ledger: every journal sums to zero, every balance is the sum of its postings")
	proof := must(wallets(s).ProveLedger(ctx, &walletv1.ProveLedgerRequest{})).GetProof()
	s.check(proof.GetProved(), "the ledger is wrong: %v", proof.GetFindings())
	s.check(proof.GetAccounts() == 1 && proof.GetJournals() > 0, "%d journals of %d accounts", proof.GetJournals(), proof.GetAccounts())
	books := proof.GetTrialBalance()
	available, held := balance(s)
	s.check(books["available"] == available && books["held"] == held, "the books say %v, the wallet %d and %d", books, available, held)
	var sum int64
	for _, total := range books {
		sum += total
	}
	s.check(sum == 0, "the trial balance adds up to %s", rupiah(sum))
	s.sees("%d journals, no difference; the trial balance adds up to zero:", proof.GetJournals())
	for _, name := range slices.Sorted(maps.Keys(books)) {
		if books[name] != 0 {
			fmt.Printf("       %-16s %14s\n", name, rupiah(books[name]))
		}
	}
}

// statement reads every movement of money, newest first.
func statement(s *stage) {
	s.asks("read the statement, page by page")
	var lines []*walletv1.Transaction
	var total int64
	request := &walletv1.ListTransactionsRequest{PageSize: 5}
	for line, err := range sewa.Items(ctx, wallets(s).ListTransactions, request, (*walletv1.ListTransactionsResponse).GetTransactions) {
		lines = append(lines, must(line, err))
		total += line.GetAvailableChange().GetUnits()
	}
	available, _ := balance(s)
	s.check(len(lines) > 5, "%d lines are one page", len(lines))
	last := lines[0].GetAvailableAfter().GetUnits()
	s.check(total == available && total == last, "the lines add up to %s, the last one ends at %s, and the wallet has %s",
		rupiah(total), rupiah(last), rupiah(available))
	s.sees("%d lines, which add up to the balance of %s:", len(lines), rupiah(total))
	for _, line := range lines {
		kind := strings.ToLower(strings.TrimPrefix(line.GetKind().String(), "KIND_"))
		fmt.Printf("       %12s %12s  %-8s %s\n",
			rupiah(line.GetAvailableChange().GetUnits()), rupiah(line.GetAvailableAfter().GetUnits()), kind, line.GetDescription())
	}
}
