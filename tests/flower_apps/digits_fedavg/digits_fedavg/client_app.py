"""The nodes' side."""

from __future__ import annotations

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from digits_fedavg.task import load_partition, new_model, train

app = ClientApp()


@app.train()
def train_on_own_digits(message: Message, context: Context) -> Message:
    node = int(context.node_config["partition-id"])
    x, y = load_partition(node, int(context.node_config["num-partitions"]))
    model = new_model()
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    config = message.content["config"]
    loss = train(model, x, y, lr=config["lr"], seed=1000 * config["server-round"] + node)
    metrics = MetricRecord({"num-examples": len(y), "train_loss": loss})
    return Message(RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics}), reply_to=message)
