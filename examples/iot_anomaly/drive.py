"""Do what listener and sink do, in one process and without a broker: for trying the pipeline, and for its tests.

    python -m examples.iot_anomaly.drive --data ../shared/data/ambient_temperature.csv --detections found.jsonl

It needs a stack, such as that of ``kato-tasks up``, and its settings. Each reading is the message that the producer
sends; it is decoded, appended, and KATO is asked after it, before the next one is appended.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from examples.iot_anomaly.judge import write
from examples.iot_anomaly.judging import Judge
from examples.iot_anomaly.pipeline import decode, encode
from examples.iot_anomaly.producer import SENSOR, messages
from examples.iot_anomaly.scoring import read_readings
from kato_tasks import append_events, predict
from kato_tasks.ports.sources import Message


def prediction_events(sent: Iterable[Mapping[str, Any]], *, slim: bool = True) -> Iterator[dict[str, Any]]:
    """Yield the prediction event of each observation in the messages, as the sink publishes it after it is applied.

    Without ``slim`` it has all that KATO answered, as it has for a sink without an encoder.
    """
    for number, one in enumerate(sent):
        for event in decode(Message(json.dumps(one).encode(), f"reading {number}")):
            # The listener makes an id of the body, so that a message that comes again is no second event.
            named = {**event, "event_id": f"{event['session_id']}/{number}/{event['event_type']}"}
            append_events([named])
            if event["event_type"] == "observation":
                answer = predict.delay(event["session_id"], raw=True).get(timeout=60)
                published = {
                    "event_type": "prediction",
                    "session_id": event["session_id"],
                    "node_id": answer["node_id"],
                    "timestamp": event.get("timestamp"),
                    "predictions": answer["predictions"],
                    "original_event": named,
                    "correlation_id": None,
                    "event_id": f"{named['event_id']}/prediction",
                }
                yield encode(published) if slim else published


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a CSV file with the columns timestamp and value")
    parser.add_argument("--detections", type=Path, required=True, help="the file of verdicts, a JSON object a line")
    parser.add_argument("--sensor", default=SENSOR, help="the sensor's name, new for each run (default %(default)s)")
    parser.add_argument("--first", type=int, help="stop after so many readings")
    given = parser.parse_args()
    began = time.monotonic()
    sent = messages(islice(read_readings(given.data), given.first), given.sensor)
    with given.detections.open("w") as file:
        judged = write(prediction_events(sent), Judge(), file)
    print(f"{judged} readings in {time.monotonic() - began:.0f} s; verdicts in {given.detections}")


if __name__ == "__main__":
    main()
