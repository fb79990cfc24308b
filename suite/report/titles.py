"""How networks, data and methods are called in print; an identifier without a title is printed as it is."""

NETWORKS = {
    "lenet-300-100": "LeNet-300-100",
    "lenet5": "LeNet-5",
    "cifar10-quick": "CIFAR-10 quick",
    "resnet20": "ResNet-20",
    "resnet32": "ResNet-32",
    "resnet44": "ResNet-44",
    "resnet56": "ResNet-56",
    "alexnet": "AlexNet",
    "vgg16": "VGG-16",
    "googlenet": "GoogLeNet",
    "resnet18": "ResNet-18",
}

DATA = {
    "digits": "Digits",
    "mnist": "MNIST",
    "fashion-mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "cifar10-jpeg": "CIFAR-10 (JPEG)",
    "cifar100": "CIFAR-100",
    "imagenet": "ImageNet",
}

METHODS = {
    "full": "full precision",
    "kmeans": "k-means",
    "hessian-kmeans": "Hessian-weighted k-means",
    "uniform-ecsq": "ECSQ, uniform",
    "iterative-ecsq": "ECSQ, iterative",
    "slq": "SLQ",
    "mlq": "MLQ",
    "inq": "INQ",
    "bwn": "BWN",
    "twn": "TWN",
    "ttq": "TTQ",
    "deep-compression": "Deep Compression",
    "universal": "universal quantization",
    "soft-to-hard": "soft-to-hard",
}
