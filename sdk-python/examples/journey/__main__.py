"""The demonstration: a reseller's day on a sandbox account, from nothing to a machine and back, step by step as `sdk-rust/examples/journey` plays it.

Each step says what it asks for, then what it read back from the platform, and fails if that is not what was promised.

Usage: `python -m journey http://127.0.0.1:7070`, in the folder `examples`.
"""

import sys

from . import account, machine, money, shop, time
from .stage import Stage


def play(endpoint: str) -> None:
    stage = Stage(endpoint)
    account.register(stage)
    goods = shop.choose(stage)
    # Three periods can be paid from four net prices, tax included; a fourth cannot.
    money.top_up(stage, 4 * goods.net_price)
    time.create_clock(stage)

    total = shop.quote(stage, goods)
    bought = shop.buy(stage, goods, total)
    machine.inspect(stage, bought.instance_id, total)
    shop.repeat(stage, bought)

    machine.power_cycle(stage, bought.instance_id)
    machine.rebuild(stage, bought.instance_id, goods.other_image_id)

    shop.lose_next_answer(stage)
    spare = shop.buy_despite_lost_answer(stage, goods, total)
    machine.delete(stage, spare)

    time.renew(stage, bought.instance_id)
    time.run_out_of_money(stage, bought.instance_id)
    time.suspend(stage, bought.instance_id)
    time.pay_and_resume(stage, bought.instance_id, 3 * goods.net_price)

    held = time.pay_ahead(stage, bought.instance_id)
    machine.delete(stage, bought.instance_id)
    time.release(stage, bought.instance_id, held)

    money.prove(stage)
    money.statement(stage)
    stage.client.close()
    print("\nEvery step was observed.")


play(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:7070")
