"""When, where, again: configuration, association, plan, execution, store and ledger of recipe runs."""
