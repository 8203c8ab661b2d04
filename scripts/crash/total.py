"""The reports of several runs of shardmq-ledger (one line of JSON each) as one.

    total.py FILE
"""
import json
import sys

with open(sys.argv[1]) as lines:
    reports = [json.loads(line) for line in lines]


def total(key):
    return sum(report[key] for report in reports)


counts = {}
for report in reports:
    for fault, count in report["verdict"]["counts"].items():
        counts[fault] = counts.get(fault, 0) + count
first = ["acknowledged_messages_lost", "QoS_2_duplicates", "sessions_missing"]
others = [fault for fault in counts if fault not in first]
starts = total("starts")
restart_ms = sum(report["restart_ms"] * report["starts"] for report in reports) / starts

print(f"  rounds {total('rounds')}, starts {starts}, {total('seconds'):.0f} s, {restart_ms:.0f} ms from start to first CONNACK, {total('failed_starts')} starts tried again")
print(f"  acknowledged {total('acknowledged')}, received {total('received')} ({total('repeated_qos1')} of them QoS 1 again), ", end="")
print(f"subscriptions made or removed {total('subscriptions_answered')}")
print("  " + ", ".join(f"{fault.replace('_', ' ')} {counts[fault]}" for fault in first + others))
