"""digits-pytorch: A Flower / PyTorch app."""

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from digits_pytorch.task import Net, load_data
from digits_pytorch.task import test as test_fn
from digits_pytorch.task import train as train_fn

# Flower ClientApp
app = ClientApp()


@app.train()
def train(msg: Message, context: Context):
    """Train the model on local data."""
    model, trainloader, device = prepare(msg, context)
    train_loss = train_fn(model, trainloader, context.run_config["local-epochs"], msg.content["config"]["lr"], device)

    # Construct and return reply Message
    model_record = ArrayRecord(model.state_dict())
    metric_record = MetricRecord({"train_loss": train_loss, "num-examples": len(trainloader.dataset)})
    return Message(content=RecordDict({"arrays": model_record, "metrics": metric_record}), reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context):
    """Evaluate the model on local data."""
    model, loader, device = prepare(msg, context)
    eval_loss, eval_acc = test_fn(model, loader, device)
    metric_record = MetricRecord({"eval_loss": eval_loss, "eval_acc": eval_acc, "num-examples": len(loader.dataset)})
    return Message(content=RecordDict({"metrics": metric_record}), reply_to=msg)


def prepare(msg: Message, context: Context):
    """The model with the received weights, the client's data, and the device."""
    model = Net()
    model.load_state_dict(msg.content["arrays"].to_torch_state_dict())
    partition_id = context.node_config["partition-id"]
    num_partitions = context.node_config["num-partitions"]
    loader = load_data(partition_id, num_partitions, context.run_config["batch-size"])
    return model, loader, torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
